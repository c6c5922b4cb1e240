"""Costs against counts that are made by hand."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Callable

import pytest
import torch
from mixseg.data.registry import CLASSES, DATASETS
from rich.console import Console
from torch import Tensor, nn

from mixseg.analysis.model_profile import (
    WARMUP,
    ModelProfile,
    part_costs,
    profile_run,
    profile_tables,
    step_cost,
)
from mixseg.config.resolve import resolve_settings
from mixseg.config.schema import to_flat
from mixseg.config.sections import Settings
from mixseg.errors import ConfigError
from mixseg.methods import METHODS
from mixseg.training.checkpoint import write_checkpoint
from mixseg.training.data import training_size
from mixseg.training.saved_network import network_card
from tests.models.build import small_model

TINY = {
    "model.backbone": "test_resnet",
    "model.output_stride": 16,
    "model.rates": (1, 2),
    "data.crop": (64, 96),
    "training.precision": "fp32",
}


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU())
        self.shuffle = nn.PixelShuffle(2)
        self.head = nn.Conv2d(2, 5, 1, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.shuffle(self.backbone(images)))


def test_parts_of_a_network() -> None:
    network = Toy()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    backbone, head, total = part_costs(network, (1, 3, 10, 14))
    # An output pixel of a convolution: 2 * 3 * 3 * channels in, for each channel out.
    assert (backbone.name, backbone.parameters, backbone.flops) == ("backbone", 224, 35 * 54 * 8)
    assert (head.name, head.parameters, head.flops) == ("head", 10, 140 * 4 * 5)
    assert (total.name, total.parameters) == ("total", 234)
    assert total.flops == backbone.flops + head.flops
    # The network itself is as it was.
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_parts_of_a_segmentation_network() -> None:
    network = small_model()
    backbone, head, total = part_costs(network, (1, 3, 64, 96))
    assert backbone.parameters == sum(p.numel() for p in network.backbone.parameters())
    assert head.parameters == sum(p.numel() for p in network.head.parameters())
    assert total.parameters == sum(p.numel() for p in network.parameters())
    features = network.backbone(torch.zeros(1, 3, 64, 96))[-1]
    branches = 2 * 9 * features.shape[1] * 5 * features[0, 0].numel()
    assert head.flops == 2 * branches
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


@pytest.fixture(scope="module")
def profiles(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], ModelProfile]:
    found: dict[str, ModelProfile] = {}

    def profile(method: str) -> ModelProfile:
        if method not in found:
            values = TINY | {"method": method, "training.accumulate": 2}
            if method == "domain_adaptation":
                values |= {"source_domain.dataset": "gta5", "targets.alignment": "uniform"}
            if method == "distillation":
                model = small_model(num_classes=19)
                card = network_card(
                    model.spec, CLASSES["demo"], to_flat(resolve_settings([], TINY))
                )
                path = tmp_path_factory.mktemp("teacher") / "step-00000001"
                write_checkpoint(path, {"teacher": model.state_dict()}, card | {"step": 1})
                values |= {"distillation.teacher": str(path), "distillation.unlabeled": 1.0}
            settings = resolve_settings([], values)
            found[method] = profile_run(settings, images=21, steps=1)
        return found[method]

    return profile


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_is_measured(method: str, profiles: Callable[[str], ModelProfile]) -> None:
    profile = profiles(method)
    (step,) = profile.steps
    assert step.name == method
    assert step.seconds > 0
    assert step.steps_per_epoch == 6  # 21 images, four in a step
    expected = part_costs(small_model(num_classes=19), (1, 3, 64, 96))
    assert profile.parts == expected
    content = json.loads(json.dumps(profile.to_json()))
    assert content["training"][0]["seconds_per_epoch"] == pytest.approx(6 * step.seconds)
    assert content["networks"][-1]["parameters"] == expected[-1].parameters
    assert set(content["batches"]) == set(METHODS[method].streams)


def test_tables_have_all_rows_in_a_narrow_terminal(
    profiles: Callable[[str], ModelProfile],
) -> None:
    profile = profiles("domain_adaptation")
    console = Console(width=80)
    with console.capture() as captured:
        console.print(*profile_tables(profile))
    text = captured.get()
    for part in profile.parts:
        assert part.name in text
        assert f"{part.parameters / 1e6:.3f}" in text and f"{part.flops / 1e9:.3f}" in text
    epoch = str(datetime.timedelta(seconds=round(profile.steps[0].seconds_per_epoch)))
    for word in ("domain_adaptation", "64x96", epoch, "21 labelled", "2 times"):
        assert word in text


class TestSizes:
    def size(self, stream: str = "labeled", **values: object) -> tuple[int, int]:
        settings: Settings = resolve_settings(
            [], {path.replace("__", "."): value for path, value in values.items()}
        )
        return training_size(settings, stream, None)

    def test_crop_then_resize_then_scene(self) -> None:
        assert self.size(data__crop=(64, 65), data__resize=(70, 71)) == (64, 65)
        assert self.size(data__resize=(70, 71)) == (70, 71)
        assert self.size(demo__size=(40, 41)) == (40, 41)

    def test_each_domain_has_its_own(self) -> None:
        two = {
            "method": "domain_adaptation",
            "source_domain__dataset": "gta5",
            "source_domain__resize": (70, 71),
            "data__resize": (80, 81),
        }
        assert self.size("labeled", **two) == (70, 71)
        assert self.size("unlabeled", **two) == (80, 81)

    def test_not_known_without_data(self) -> None:
        with pytest.raises(ConfigError, match=r"labeled images is not known.*data\.crop"):
            self.size(data__dataset="cityscapes")


def test_classes_belong_to_data_sets() -> None:
    assert set(CLASSES) <= {"demo", *DATASETS}


def test_a_whole_network() -> None:
    changes = {
        "method": "supervised",
        "data.crop": (32, 64),
        "data.dataset": "camvid",
        "supervised_loss.name": "balanced-cross-entropy",  # as in the presets
        "model.architecture": "enet",
        "model.backbone": "none",
        "model.weights": "none",
        "model.batch_norm": "train",
        "training.device": "cpu",
        "training.precision": "fp32",
    }
    profile = profile_run(resolve_settings([], changes), images=4, steps=1)
    assert profile.conditions["model"] == "enet"
    assert [part.name for part in profile.parts] == ["backbone", "head", "total"]
    encoder, decoder, total = profile.parts
    assert encoder.parameters + decoder.parameters == total.parameters
    # At least the last transposed convolution: nine products for each cell it enlarges.
    classes = len(CLASSES["camvid"])
    assert decoder.flops > 2 * 9 * 16 * classes * 16 * 32
    assert total.flops == encoder.flops + decoder.flops


def test_a_regularizer_is_a_row_of_each_table() -> None:
    changes = {
        "regularizer": "adversarial-temperature",
        "method": "supervised",
        "data.crop": (32, 64),
        "model.backbone": "test_resnet",
        "model.weights": "none",
        "model.batch_norm": "train",
        "data.dataset": "cityscapes",
    }
    profile = profile_run(resolve_settings([], changes), images=4, steps=1)
    assert [part.name for part in profile.parts] == ["backbone", "head", "total", "discriminator"]
    assert profile.parts[-1].parameters == pytest.approx(2.78e6, rel=0.01)
    # 4x4 convolutions of halved sizes, and 1x1 at the end.
    maps = [(19, 64, 16 * 32), (64, 128, 8 * 16), (128, 256, 4 * 8), (256, 512, 2 * 4)]
    assert profile.parts[-1].flops == 2 * (sum(16 * a * b * n for a, b, n in maps) + 512 * 8)
    assert [step.name for step in profile.steps] == [
        "supervised",
        "supervised, adversarial-temperature",
    ]
