"""Costs against counts that are made by hand."""

from __future__ import annotations

import datetime
import json
import time
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from mixseg.analysis.costs import (
    WARMUP,
    ModelProfile,
    checkpoints_at_once,
    extrapolated,
    part_costs,
    profile_of,
    smaller,
    step_cost,
)
from mixseg.analysis.noise import NoiseRun
from mixseg.config.resolve import resolve_settings
from mixseg.config.schema import to_flat
from mixseg.config.sections import Settings
from mixseg.data.camvid import CAMVID
from mixseg.data.cityscapes import CITYSCAPES
from mixseg.errors import ConfigError
from mixseg.registry import METHODS
from mixseg.training.checkpoint import write_checkpoint
from mixseg.training.data import RunData
from mixseg.training.saved_network import network_card
from tests.models.build import small_model

TINY = {
    "model.backbone": "test_resnet",
    "model.output_stride": 16,
    "model.rates": (1, 2),
    "data.crop": (64, 96),
    "training.precision": "fp32",
}
PLAIN = {"model.weights": "none", "model.batch_norm": "train", "method": "supervised"}


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU())
        self.shuffle = nn.PixelShuffle(2)
        self.head = nn.Conv2d(2, 5, 1, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.shuffle(self.backbone(images)))


def test_parts_of_networks() -> None:
    network: nn.Module = Toy()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    backbone, head, total = part_costs(network, (1, 3, 10, 14))
    # An output pixel of a convolution: 2 * 3 * 3 * channels in, for each channel out.
    assert backbone == ("backbone", 224, 35 * 54 * 8)
    assert head == ("head", 10, 140 * 4 * 5)
    assert total == ("total", 234, backbone.flops + head.flops)
    # The network itself is as it was.
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    network = small_model()
    backbone, head, total = part_costs(network, (1, 3, 64, 96))
    for cost, part in ((backbone, network.backbone), (head, network.head), (total, network)):
        assert cost.parameters == sum(p.numel() for p in part.parameters())
    features = network.backbone(torch.zeros(1, 3, 64, 96))[-1]
    assert head.flops == 2 * 2 * 9 * features.shape[1] * 5 * features[0, 0].numel()
    assert total.flops == backbone.flops + head.flops
    # Four times the pixels, four times the operations.
    assert part_costs(network, (1, 3, 128, 192))[-1].flops == 4 * total.flops


def test_a_step_is_the_median_after_the_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, taken = [0.0], []
    seconds = [100.0] * WARMUP + [3.0, 1.0, 7.0, 2.0, 9.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def advance(step: int) -> None:
        taken.append(step)
        clock[0] += seconds[step]

    cost = step_cost("toy", advance, torch.device("cpu"), steps=5, per_epoch=4)
    assert taken == list(range(WARMUP + 5))
    assert (cost.seconds, cost.seconds_per_epoch) == (3, 12)
    assert 2**20 < cost.peak_memory < 2**40


def profiled(values: dict[str, object], images: int = 4) -> ModelProfile:
    run = NoiseRun.of(resolve_settings([], values), None)
    return profile_of(run, images, -(-images // 4), steps=1)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_is_measured(method: str, tmp_path: Path) -> None:
    values = TINY | {"method": method, "training.accumulate": 2}
    if method == "domain_adaptation":
        values |= {"source_domain.dataset": "gta5", "targets.alignment": "uniform"}
    if method == "distillation":
        model = small_model(num_classes=19)
        card = network_card(model.spec, CITYSCAPES, to_flat(resolve_settings([], TINY)))
        path = tmp_path / "step-00000001"
        write_checkpoint(path, {"teacher": model.state_dict()}, card | {"step": 1})
        values |= {"distillation.teacher": str(path), "distillation.unlabeled": 1.0}
    profile = profiled(values, images=21)
    (step,) = profile.steps
    assert step.name == method and step.seconds > 0
    assert profile.parts == part_costs(small_model(num_classes=19), (1, 3, 64, 96))
    content = json.loads(json.dumps(profile.to_json()))
    assert content["training"][0]["seconds_per_epoch"] == pytest.approx(6 * step.seconds)
    assert content["networks"][-1]["parameters"] == profile.parts[-1].parameters
    assert set(content["batches"]) == set(RunData(resolve_settings([], values)).streams)
    # The tables have all rows in a narrow terminal.
    console = Console(width=80)
    with console.capture() as captured:
        console.print(*profile.tables())
    text = captured.get()
    for part in profile.parts:
        assert part.name in text
        assert f"{part.parameters / 1e6:.3f}" in text and f"{part.flops / 1e9:.3f}" in text
    epoch = str(datetime.timedelta(seconds=round(step.seconds_per_epoch)))
    assert all(word in text for word in (method, "64x96", epoch, "21 labeled", "2 times"))


def test_a_whole_network() -> None:
    changes = {"model.architecture": "enet", "model.backbone": "none", "data.dataset": "camvid"}
    changes |= {"training.device": "cpu", "training.precision": "fp32", "data.crop": (32, 64)}
    loss = {"supervised_loss.name": "balanced-cross-entropy"}  # as in the presets
    profile = profiled(PLAIN | changes | loss)
    assert profile.conditions["model"] == "enet"
    assert [part.name for part in profile.parts] == ["backbone", "head", "total"]
    encoder, decoder, total = profile.parts
    assert encoder.parameters + decoder.parameters == total.parameters
    # At least the last transposed convolution: nine products for each cell it enlarges.
    assert decoder.flops > 2 * 9 * 16 * len(CAMVID) * 16 * 32
    assert total.flops == encoder.flops + decoder.flops


def test_a_regularizer_is_a_row_of_each_table() -> None:
    changes = {"regularizer": "adversarial-temperature", "model.backbone": "test_resnet"}
    data = {"data.crop": (32, 64), "data.dataset": "cityscapes"}
    profile = profiled(PLAIN | changes | data)
    assert [part.name for part in profile.parts] == ["backbone", "head", "total", "discriminator"]
    assert profile.parts[-1].parameters == pytest.approx(2.78e6, rel=0.01)
    # 4x4 convolutions of halved sizes, and 1x1 at the end.
    maps = [(19, 64, 16 * 32), (64, 128, 8 * 16), (128, 256, 4 * 8), (256, 512, 2 * 4)]
    assert profile.parts[-1].flops == 2 * (sum(16 * a * b * n for a, b, n in maps) + 512 * 8)
    names = [step.name for step in profile.steps]
    assert names == ["supervised", "supervised, adversarial-temperature"]


def test_sizes_without_data() -> None:
    def size(stream: str = "labeled", **values: object) -> tuple[int, int]:
        changed = {path.replace("__", "."): value for path, value in values.items()}
        settings: Settings = resolve_settings([], changed)
        return RunData(settings).size(stream, None)

    assert size(data__crop=(64, 65), data__resize=(70, 71)) == (64, 65)
    assert size(data__resize=(70, 71)) == (70, 71)
    assert size(demo__size=(40, 41)) == (40, 41)
    two = {"source_domain__dataset": "gta5", "source_domain__resize": (70, 71)}
    two |= {"method": "domain_adaptation", "data__resize": (80, 81)}
    assert (size("labeled", **two), size("unlabeled", **two)) == ((70, 71), (80, 81))
    with pytest.raises(ConfigError, match=r"data\.crop"):
        size(data__dataset="cityscapes")


def test_needs_of_other_sizes_and_lengths() -> None:
    measured = {100: 1100, 300: 1300}
    assert extrapolated(measured, 1000) == 2000
    assert extrapolated(measured, 300) == 1300
    # Larger images are never said to be cheaper.
    assert extrapolated({100: 1300, 300: 1290}, 1000) == 1290
    found = smaller({"labeled": (512, 1024), "unlabeled": (256, 512)}, 256 * 256)
    assert found == {"labeled": (192, 352), "unlabeled": (96, 192)}
    few = {"labeled": (65, 129)}
    assert smaller(few, 256 * 256) == few
    assert checkpoints_at_once(40_000, every=1000, keep=2, keep_every=0) == 3
    assert checkpoints_at_once(40_000, every=1000, keep=2, keep_every=10_000) == 7
    assert checkpoints_at_once(2000, every=1000, keep=5, keep_every=0) == 3
