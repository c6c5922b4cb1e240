"""Teacher and student side by side: what they cost, what they are worth, what they see (Karlı)."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import torch
from rich.table import Table
from rich.text import Text
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as transforms

from mixseg.analysis.comparison import Column, Row, comparison, reduced
from mixseg.analysis.model_profile import part_costs, wait_for
from mixseg.config.sections import Settings
from mixseg.data.check import spread
from mixseg.data.contract import SegmentationDataset
from mixseg.distillation.teachers import kept_teacher
from mixseg.escaping import printable
from mixseg.evaluation.confusion import Scores
from mixseg.evaluation.prediction import Predictor, write_picture
from mixseg.files import write_atomically
from mixseg.models import build_initial_model, model_title
from mixseg.training.build import evaluate_on
from mixseg.training.data import open_validation
from mixseg.training.precision import Precision, choose_device, precision_to_apply
from mixseg.training.saved_network import load_networks
from mixseg.training.streams import loader_workers

ROWS = 4
"""Images in the picture."""

TIMED = 9
"""Forward passes of which the median is taken; one more comes first."""

THUMBNAIL = 480
"""Most pixels of a side of an image in the picture."""


@final
@dataclass(frozen=True)
class NetworkCost:
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


def report_distillation(settings: Settings, scores: Mapping[str, Scores], run: Path) -> Table:
    """Compare the networks of a finished run with the one that they learnt from.

    Writes ``distillation.json`` and ``comparison.png`` into the run: some validation images, their
    labels, and what teacher and student see in them, the student before and after.

    Args:
        settings: Of the run.
        scores: Of its networks.
        run: Its folder.
    """
    val = open_validation(settings)
    teacher = kept_teacher(run, val.classes)
    saved = load_networks(run, "both").networks
    before, _ = build_initial_model(
        settings.model, settings.options, len(val.classes), settings.seed
    )
    device = choose_device(settings.training.device)
    for network in (teacher, before, *saved.values()):
        network.to(device).to(memory_format=torch.channels_last).eval()
    precision = precision_to_apply(run, settings.training.precision, device, saved["student"])
    taught = evaluate_on(
        teacher,
        val,
        settings.data,
        settings.validation.resolution,
        settings.validation.batch_size,
        precision,
        loader_workers(settings.data.workers),
    )
    image = _first_image(val, settings.data.resize).to(device)
    networks: dict[str, tuple[str, nn.Module, float | None]] = {
        "teacher": (model_title(teacher.network.spec), teacher, taught.miou)
    }
    # The average costs what the student costs, so that one line is enough.
    best = max(scores, key=lambda name: scores[name].miou or 0.0)
    networks[best] = (model_title(settings.model), saved[best], scores[best].miou)
    costs = [
        _cost(role, name, network, image, precision, miou)
        for role, (name, network, miou) in networks.items()
    ]
    content: dict[str, Any] = {
        "image": list(image.shape[-2:]),
        "device": str(device),
        "precision": precision.name,
        "threads": torch.get_num_threads(),
        "networks": [asdict(cost) for cost in costs],
    }
    write_atomically(run / "distillation.json", json.dumps(content, indent=1))
    seen = {"teacher": teacher, "student, before": before, "student, after": saved[best]}
    write_picture(run / "comparison.png", _picture(val, seen, settings, precision))
    return _table(costs, content, scores[best].coverage())


def _first_image(val: SegmentationDataset, resize: tuple[int, int] | None) -> Tensor:
    pixels = torch.tensor(val.image(0)).permute(2, 0, 1)[None]
    if resize is not None:
        pixels = transforms.resize(pixels, list(resize), antialias=True)
    return pixels.float().div(255).contiguous(memory_format=torch.channels_last)


def _cost(
    role: str,
    title: str,
    network: nn.Module,
    image: Tensor,
    precision: Precision,
    miou: float | None,
) -> NetworkCost:
    total = part_costs(network, tuple(image.shape))[-1]
    times = []
    with torch.inference_mode(), precision.autocast():
        for _ in range(1 + TIMED):
            wait_for(precision.device)
            started = time.perf_counter()
            network(image)
            wait_for(precision.device)
            times.append(1000 * (time.perf_counter() - started))
    return NetworkCost(
        role, title, total.parameters, total.flops, statistics.median(times[1:]), miou
    )


def _picture(
    val: SegmentationDataset,
    networks: Mapping[str, nn.Module],
    settings: Settings,
    precision: Precision,
) -> Any:
    predictors = [
        Predictor(
            network,
            val.classes,
            settings.data.resize,
            device=precision.device,
            autocast=precision.autocast,
        )
        for network in networks.values()
    ]
    rows = []
    for index in spread(range(len(val)), ROWS):
        image, labels = val.pair(index)
        seen = (labels, *(predict(image) for predict in predictors))
        rows.append(reduced(Row(val.samples[index].id, image, seen), THUMBNAIL))
    columns = [Column(title, val.classes) for title in ("labels", *networks)]
    return comparison(columns, rows)


def _table(costs: list[NetworkCost], content: Mapping[str, Any], coverage: str) -> Table:
    height, width = content["image"]
    table = Table(
        title="teacher and student",
        caption=Text(
            f"one image of {height}x{width}; {content['device']}, {content['precision']}, "
            f"{content['threads']} threads; a multiplication and an addition are two"
            + (f"; mIoU: {printable(coverage)}" if coverage else "")
        ),
        caption_justify="left",
    )
    table.add_column("network")
    for name in ("parameters (M)", "FLOPs (G)", "ms per image", "mIoU"):
        table.add_column(name, justify="right")
    for cost in costs:
        table.add_row(
            f"{cost.role}: {cost.title}",
            f"{cost.parameters / 1e6:.3f}",
            f"{cost.flops / 1e9:.3f}",
            f"{cost.milliseconds:.1f}",
            "" if cost.miou is None else f"{100 * cost.miou:.2f}",
        )
    return table
