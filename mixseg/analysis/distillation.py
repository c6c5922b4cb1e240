"""Teacher and student side by side: what they cost, what they are worth, what they see (Karlı)."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from rich.table import Table
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as transforms

from mixseg.analysis.costs import part_costs, times_of
from mixseg.config.values import Size
from mixseg.data.check import spread
from mixseg.data.contract import SegmentationDataset
from mixseg.evaluation.pictures import Column, Row, comparison, reduced
from mixseg.evaluation.prediction import Predictor, write_picture
from mixseg.files import write_atomically
from mixseg.tables import percent, terminal_table
from mixseg.training.precision import Precision

ROWS = 4
"""Images in the picture."""

TIMED = 9
"""Forward passes of which the median is taken; one more comes first."""

THUMBNAIL = 480
"""Most pixels of a side of an image in the picture."""


class NetworkCost(NamedTuple):
    """One line of the table.

    Attributes:
        role: ``teacher``, or which network of the run.
        title: Architecture and backbone.
        parameters: Number of weights.
        flops: Of a forward pass of one image; a multiplication and an addition are two.
        milliseconds: Median wall time of a forward pass of one image.
        miou: In [0, 1].
    """

    role: str
    title: str
    parameters: int
    flops: int
    milliseconds: float
    miou: float | None


class Judged(NamedTuple):
    """A network, its title, and its mIoU in [0, 1]."""

    title: str
    network: nn.Module
    miou: float | None


def report_distillation(
    run: Path,
    val: SegmentationDataset,
    judged: Mapping[str, Judged],
    before: nn.Module,
    precision: Precision,
    resize: Size | None,
    note: str,
) -> Table:
    """Compare the network of a finished run with the one that it learned from.

    Writes ``distillation.json`` and ``comparison.png`` into the run: some validation images, their
    labels, and what teacher and student see in them, the student before and after.

    Args:
        run: Its folder.
        val: Its validation images.
        judged: Role -> network: the teacher, then the student.
        before: The student before it was trained.
        precision: In which all of them, which are on its device, are applied.
        resize: Height and width that images are resized to for them; None keeps their own.
        note: What the mIoU leaves out, if anything.
    """
    pixels = torch.tensor(val.image(0)).permute(2, 0, 1)[None]
    if resize is not None:
        pixels = transforms.resize(pixels, list(resize), antialias=True)
    image = pixels.to(precision.device).float().div(255)
    image = image.contiguous(memory_format=torch.channels_last)
    costs = [_cost(role, one, image, precision) for role, one in judged.items()]
    height, width = image.shape[-2:]
    device, threads = str(precision.device), torch.get_num_threads()
    content = {
        "image": [height, width],
        "device": device,
        "precision": precision.name,
        "threads": threads,
        "networks": [cost._asdict() for cost in costs],
    }
    write_atomically(run / "distillation.json", json.dumps(content, indent=1))
    teacher, after = judged.values()
    seen = {
        "teacher": teacher.network,
        "student, before": before,
        "student, after": after.network,
    }
    _write_comparison(run / "comparison.png", val, seen, precision, resize)
    return terminal_table(
        ("network", "parameters (M)", "FLOPs (G)", "ms per image", "mIoU"),
        [
            (
                f"{cost.role}: {cost.title}",
                f"{cost.parameters / 1e6:.3f}",
                f"{cost.flops / 1e9:.3f}",
                f"{cost.milliseconds:.1f}",
                percent(cost.miou, missing=""),
            )
            for cost in costs
        ],
        title="teacher and student",
        notes=[
            f"one image of {height}x{width}; {device}, {precision.name}, {threads} threads; a "
            "multiplication and an addition are two" + (f"; mIoU: {note}" if note else "")
        ],
    )


def _cost(role: str, judged: Judged, image: Tensor, precision: Precision) -> NetworkCost:
    total = part_costs(judged.network, tuple(image.shape))[-1]
    with torch.inference_mode(), precision.autocast():
        times = times_of(lambda _: judged.network(image), precision.device, rounds=TIMED, warmup=1)
    milliseconds = 1000 * statistics.median(times)
    return NetworkCost(role, judged.title, total.parameters, total.flops, milliseconds, judged.miou)


def _write_comparison(
    path: Path,
    val: SegmentationDataset,
    networks: Mapping[str, nn.Module],
    precision: Precision,
    resize: Size | None,
) -> None:
    predictors = [
        Predictor(
            network, val.classes, resize, device=precision.device, autocast=precision.autocast
        )
        for network in networks.values()
    ]
    rows = []
    for index in spread(range(len(val)), ROWS):
        image, labels = val.pair(index)
        seen = (labels, *(predict(image) for predict in predictors))
        rows.append(reduced(Row(val.samples[index].id, image, seen), THUMBNAIL))
    columns = [Column(title, val.classes) for title in ("labels", *networks)]
    write_picture(path, comparison(columns, rows))
