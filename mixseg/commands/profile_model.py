"""Costs of a network and of its training step."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch

from mixseg.analysis.costs import ModelProfile, part_costs, step_cost
from mixseg.analysis.noise import NoiseRun
from mixseg.commands.contract import prints_its_result
from mixseg.commands.parsing import check_folder, new_parser
from mixseg.commands.settings_arguments import add_file_arguments, any_settings, parse_with_settings
from mixseg.config.values import FlagType, Range
from mixseg.data.layout import classes_of
from mixseg.errors import ConfigError
from mixseg.files import write_atomically
from mixseg.models import model_title
from mixseg.terminal import new_console, show
from mixseg.training.data import RunData, check_dataset_name, open_training_data
from mixseg.training.stages import of_one_stage, steps_per_epoch


@prints_its_result
def profile_model(arguments: Sequence[str]) -> int:
    """Measure a network and its training step; see ``--help``."""
    parser = new_parser(
        "mixseg profile",
        "Parameters and operations of a network, time and memory of its training step, on random "
        "images of the training size.",
    )
    add_file_arguments(parser)
    parser.add_argument(
        "--images",
        type=FlagType("--images", int, Range(1, 1e9)),
        metavar="N",
        help="labeled images of an epoch; no data is needed then [those of the data]",
    )
    parser.add_argument(
        "--steps",
        type=FlagType("--steps", int, Range(1, 100_000)),
        default=5,
        help="training steps that are measured [5]",
    )
    parser.add_argument("--json", type=str, metavar="FILE", help="write the numbers as JSON too")
    parsed = parse_with_settings(parser, arguments)
    console = new_console()
    check_folder("--json", parsed.json)
    settings = of_one_stage(any_settings(parsed), -1)
    check_dataset_name(settings.data.dataset, "data.dataset")
    data, images = None, parsed.images
    known = classes_of(settings.data.dataset) is not None
    if images is None or not known:
        try:
            RunData(settings).check()
        except ConfigError as error:
            if not known:
                raise
            raise ConfigError(
                f"{error}. Without data, say with --images N how many images are labeled"
            ) from error
        data = open_training_data(settings)
        images = images or len(data.split.labeled)
    run = NoiseRun.of(settings, data)
    batch, accumulate = settings.data.batch_labeled, settings.training.accumulate
    profile = profile_of(run, images, steps_per_epoch(images, batch, accumulate), parsed.steps)
    for table in profile.tables():
        show(console, table)
    if parsed.json is not None:
        write_atomically(Path(parsed.json), json.dumps(profile.to_json(), indent=1))
    return 0


def profile_of(run: NoiseRun, images: int, per_epoch: int, steps: int) -> ModelProfile:
    """Costs of a run; of one with a regularizer also those of the method alone."""
    settings = run.settings
    trained = {settings.method: False}
    if settings.regularizer != "none":
        trained[f"{settings.method}, {settings.regularizer}"] = True
    costs = []
    for name, regularized in trained.items():
        learner, advance = run.learner(regularized=regularized, choose=True)
        device = learner.precision.device
        costs.append(step_cost(name, advance, device, steps=steps, per_epoch=per_epoch))
    parts = part_costs(learner.method.student, (1, 3, *run.sizes["labeled"]))
    for regularizer in learner.regularizers:
        for name, network in regularizer.networks.items():
            total = part_costs(network, (1, len(run.classes), *run.sizes["labeled"]))[-1]
            parts += (total._replace(name=name),)
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return ModelProfile(
        parts,
        tuple(costs),
        {
            "model": model_title(settings.model),
            "classes": len(run.classes),
            "sizes": dict(run.sizes),
            "batches": run.counts,
            "accumulate": settings.training.accumulate,
            "labeled_images": images,
            "device": gpu or f"{device}, {torch.get_num_threads()} threads",
            "precision": learner.precision.name,
            "measured_steps": steps,
        },
    )
