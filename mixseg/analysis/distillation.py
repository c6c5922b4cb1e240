"""Teacher and student side by side: what they cost, what they are worth, what they see (Karlı)."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from torch import nn

from mixseg.analysis.costs import part_costs, times_of
from mixseg.data.check import spread
from mixseg.evaluation.pictures import Column, Row, comparison, reduced
from mixseg.evaluation.prediction import Predictor, write_picture
from mixseg.files import write_atomically
from mixseg.models import build_initial_model, model_title
from mixseg.tables import percent, terminal_table
from mixseg.training.build import evaluate_on
from mixseg.training.data import RunData
from mixseg.training.loop import Outcome
from mixseg.training.precision import choose_device, precision_to_apply
from mixseg.training.saved_network import load_networks
from mixseg.training.teachers import kept_teacher

ROWS = 4
"""Images in the picture."""

TIMED = 9
"""Forward passes of which the median is taken; one more comes first."""

THUMBNAIL = 480
"""Most pixels of a side of an image in the picture."""


def compare_with_teacher(outcome: Outcome, path: Path) -> Table:
    """Compare the network of a finished run with the one that it learned from.

    Writes ``distillation.json`` and ``comparison.png`` into the run: some validation images, their
    labels, and what teacher and student see in them, the student before and after.

    Args:
        outcome: How the run ended.
        path: Its folder.
    """
    settings = outcome.settings
    val = RunData(settings).validation()
    teacher = kept_teacher(path, val.classes)
    saved = load_networks(path, "both").networks
    before, _ = build_initial_model(
        settings.model, settings.options, len(val.classes), settings.seed
    )
    device = choose_device(settings.training.device)
    for network in (teacher, before, *saved.values()):
        network.to(device).to(memory_format=torch.channels_last).eval()
    precision = precision_to_apply(path, settings.training.precision, device, saved["student"])

    def predictor(network: nn.Module) -> Predictor:
        resize = settings.data.resize
        return Predictor(network, val.classes, resize, device=device, autocast=precision.autocast)

    # The average costs what the student costs, so that one line is enough.
    best = max(outcome.scores, key=lambda name: outcome.scores[name].miou or 0.0)
    scores = outcome.scores[best]
    taught = evaluate_on(teacher, val, settings.data, settings.validation, precision)
    rows: list[tuple[str, str, nn.Module, float | None]] = [
        ("teacher", model_title(teacher.network.spec), teacher, taught.miou),
        (best, model_title(settings.model), saved[best], scores.miou),
    ]
    image = predictor(teacher).pixels(val.image(0))
    image = image.contiguous(memory_format=torch.channels_last)
    costs: list[dict[str, Any]] = []
    for role, title, network, miou in rows:
        total = part_costs(network, tuple(image.shape))[-1]
        with torch.inference_mode(), precision.autocast():
            times = times_of(lambda _: network(image), device, rounds=TIMED, warmup=1)  # noqa: B023
        costs.append(
            {
                "role": role,
                "title": title,
                "parameters": total.parameters,
                "flops": total.flops,
                "milliseconds": 1000 * statistics.median(times),
                "miou": miou,
            }
        )
    height, width = image.shape[-2:]
    threads = torch.get_num_threads()
    content = {
        "image": [height, width],
        "device": str(device),
        "precision": precision.name,
        "threads": threads,
        "networks": costs,
    }
    write_atomically(path / "distillation.json", json.dumps(content, indent=1))

    predictors = {
        "teacher": predictor(teacher),
        "student, before": predictor(before),
        "student, after": predictor(saved[best]),
    }
    pictures = []
    for index in spread(range(len(val)), ROWS):
        photograph, labels = val.pair(index)
        seen = (labels, *(predict(photograph) for predict in predictors.values()))
        pictures.append(reduced(Row(val.samples[index].id, photograph, seen), THUMBNAIL))
    columns = [Column(title, val.classes) for title in ("labels", *predictors)]
    write_picture(path / "comparison.png", comparison(columns, pictures))

    note = scores.coverage()
    return terminal_table(
        ("network", "parameters (M)", "FLOPs (G)", "ms per image", "mIoU"),
        [
            (
                f"{cost['role']}: {cost['title']}",
                f"{cost['parameters'] / 1e6:.3f}",
                f"{cost['flops'] / 1e9:.3f}",
                f"{cost['milliseconds']:.1f}",
                percent(cost["miou"], missing=""),
            )
            for cost in costs
        ],
        title="teacher and student",
        notes=[
            f"one image of {height}x{width}; {device}, {precision.name}, {threads} threads; a "
            "multiplication and an addition are two" + (f"; mIoU: {note}" if note else "")
        ],
    )
