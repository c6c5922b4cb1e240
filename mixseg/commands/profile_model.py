"""Costs of a network and of its training step."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from mixseg.commands.parsing import Parser, any_settings, check_folder
from mixseg.config.values import Range
from mixseg.data.layout import classes_of
from mixseg.errors import ConfigError
from mixseg.files import write_atomically
from mixseg.terminal import new_console, show


def profile_model(arguments: Sequence[str]) -> int:
    """``mixseg profile``."""
    parser = Parser(
        "mixseg profile",
        "Parameters and operations of a network, time and memory of its training step, on random "
        "images of the training size.",
        settings=True,
    )
    add = parser.add
    images_help = "labeled images of an epoch; no data is needed then [those of the data]"
    add("--images", images_help, int, Range(1, 1e9), metavar="N")
    add("--steps", "training steps that are measured [5]", int, Range(1, 100_000), default=5)
    add("--json", "write the numbers as JSON too", metavar="FILE")
    parsed = parser.read(arguments)
    check_folder("--json", parsed.json)
    settings = any_settings(parsed)

    from mixseg.analysis.costs import profile_of
    from mixseg.analysis.noise import NoiseRun
    from mixseg.training.data import RunData
    from mixseg.training.stages import of_one_stage, steps_per_epoch

    settings = of_one_stage(settings, -1)
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
        data = RunData(settings).training()
        images = images or len(data.split.labeled)
    run = NoiseRun.of(settings, data)
    batch, accumulate = settings.data.batch_labeled, settings.training.accumulate
    profile = profile_of(run, images, steps_per_epoch(images, batch, accumulate), parsed.steps)
    console = new_console()
    for table in profile.tables():
        show(console, table)
    if parsed.json is not None:
        write_atomically(Path(parsed.json), json.dumps(profile.to_json(), indent=1))
    return 0
