"""What ``auto`` becomes on a CPU, and that a run stays in it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from mixseg.errors import CheckpointError, ConfigError
from mixseg.models import build_model
from mixseg.training import precision as module
from mixseg.training.precision import (
    FEWEST_ROUNDS,
    MOST_ROUNDS,
    choose_precision,
    clearly_faster,
    precision_of_run,
    step_times,
)
from tests import hardware
from tests.models.build import SMALL, small_model

Said = Callable[..., tuple[str, str]]
CPU, SIZE = torch.device("cpu"), (32, 64)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Said:
    """Gives the precision, and the message."""
    caplog.set_level("INFO", "mixseg")

    def choose(asked: str, recorded: Path | None, *, measure: bool = True) -> tuple[str, str]:
        caplog.clear()
        chosen = precision_of_run(asked, 2, SIZE, recorded, measure=measure)(small_model(), CPU)
        return chosen.name, "\n".join(caplog.messages)

    return choose


@pytest.mark.parametrize("in_hardware", [True, False])
def test_the_choice_is_printed_and_kept(
    in_hardware: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Said
) -> None:
    hardware.with_bf16(in_hardware, monkeypatch.setattr)
    monkeypatch.setattr(module, "step_times", step_times)  # emulated where need be
    monkeypatch.setattr(module, "BUDGET", 0.1)
    file = tmp_path / "precision.json"
    name, text = said("auto", file)
    content = json.loads(file.read_text())
    assert content["precision"] == name
    assert text.startswith(f"precision {name}: ")
    if in_hardware:
        assert content["seconds"].keys() == {"fp32", "bf16"}
        assert name == clearly_faster(content["seconds"])
    else:
        assert (name, content["seconds"]) == ("fp32", {})
    assert len(text.splitlines()) == 1


def test_what_is_clearly_faster_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Said
) -> None:
    hardware.auto_becomes("bf16", monkeypatch.setattr)
    assert said("auto", tmp_path / "precision.json")[0] == "bf16"


def test_what_is_kept_is_not_asked_again_and_a_name_is_taken_at_its_word(
    tmp_path: Path, said: Said
) -> None:
    file = tmp_path / "precision.json"
    for name in ("fp32", "bf16"):
        assert said(name, file) == (name, "")
    assert not file.exists()
    # A run without a record goes on by the rule of its time.
    expected = choose_precision("auto", CPU, small_model()).name
    assert said("auto", file, measure=False) == (expected, "")
    assert json.loads(file.read_text())["precision"] == expected
    for name in ("fp32", "bf16"):
        file.write_text(json.dumps({"precision": name}))
        for measure in (True, False):
            assert said("auto", file, measure=measure) == (name, "")
        assert json.loads(file.read_text()) == {"precision": name}


def test_a_record_that_cannot_be_followed(tmp_path: Path, said: Said) -> None:
    file = tmp_path / "precision.json"
    for content in ("", "{}", "[]", '{"precision": "fp8"}', '{"precision": 1}'):
        file.write_text(content)
        with pytest.raises(CheckpointError, match=r"precision\.json"):
            said("auto", file)
    file.write_text(json.dumps({"precision": "fp16"}))  # on a CPU
    with pytest.raises(ConfigError, match="--precision fp32"):
        said("auto", file)


@pytest.mark.filterwarnings("ignore:.*GradScaler is enabled")
@pytest.mark.parametrize(("has_bf16", "name"), [(True, "bf16"), (False, "fp16")])
def test_gpus_go_by_their_hardware_and_stay_in_what_a_run_began_in(
    has_bf16: bool, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def supported(including_emulation: bool = True) -> bool:
        return has_bf16 or including_emulation  # torch emulates it on older GPUs

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    file = tmp_path / "precision.json"
    gpu = torch.device("cuda")
    for _ in range(2):
        assert precision_of_run("auto", 2, SIZE, file)(small_model(), gpu).name == name
        assert json.loads(file.read_text())["precision"] == name
    file.write_text(json.dumps({"precision": "bf16"}))
    choose = precision_of_run("auto", 2, SIZE, file)
    if has_bf16:
        assert choose(small_model(), gpu).name == "bf16"
    else:
        with pytest.raises(ConfigError, match="--precision fp16"):
            choose(small_model(), gpu)


def enet() -> nn.Module:
    """Has dropout, which draws."""
    changes = {"architecture": "enet", "backbone": "none", "output_stride": 8}
    return build_model(SMALL.__class__(**SMALL.to_json() | changes))


@pytest.mark.parametrize("make", [small_model, enet])
def test_nothing_moves(make: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUDGET", 0.1)
    model = make().eval()  # type: ignore[operator]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    random = torch.get_rng_state()
    found = step_times(model, (2, 3, 32, 64), ("fp32", "bf16"))
    assert set(found) == {"fp32", "bf16"}
    for seconds in found.values():
        assert FEWEST_ROUNDS <= len(seconds) <= MOST_ROUNDS
        assert all(one > 0 for one in seconds)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not model.training
    assert torch.equal(random, torch.get_rng_state())


class Counting(nn.Module):
    """Notes the sizes that it sees, waits for a time that grows with them, refuses small ones."""

    def __init__(self, seconds_per_pixel: float = 0.0, smallest: int = 0) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 5, 1)
        self.seconds_per_pixel, self.smallest = seconds_per_pixel, smallest
        self.seen: list[tuple[int, ...]] = []

    def __deepcopy__(self, memo: object) -> Counting:
        return self

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if min(images.shape[2:]) < self.smallest:
            raise AssertionError("input height doesn't match model")
        self.seen.append(tuple(images.shape[2:]))
        factor = 2 if torch.is_autocast_enabled("cpu") else 1
        time.sleep(factor * self.seconds_per_pixel * images.shape[2] * images.shape[3])
        logits: torch.Tensor = self.layer(images)
        return logits


def test_slow_steps_are_measured_on_smaller_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUDGET", 0.4)
    # A round of whole images takes 3 * 512 * 256 * 1e-6 = 0.39 seconds.
    slow = Counting(1e-6)
    found = step_times(slow, (1, 3, 512, 256), ("fp32", "bf16"))
    assert (512, 256) not in slow.seen
    assert len(slow.seen) < 60 and all(side % 32 == 0 for size in slow.seen for side in size)
    assert all(len(seconds) >= FEWEST_ROUNDS for seconds in found.values())
    assert min(found["bf16"]) > min(found["fp32"]), "the slower one takes longer"
    monkeypatch.setattr(module, "LONGEST", 0.0)
    found = step_times(Counting(), (1, 3, 64, 64), ("fp32", "bf16"))
    assert found == {"fp32": [], "bf16": []}
    assert clearly_faster(found) == "fp32"


@pytest.mark.parametrize("network", [Counting(), Counting(smallest=500)])
def test_fast_steps_and_networks_of_one_size_are_measured_on_whole_ones(
    network: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUDGET", 1e6)  # on any machine
    found = step_times(network, (1, 3, 500, 532), ("fp32", "bf16"))
    assert set(network.seen[-2 * len(found["fp32"]) :]) == {(500, 532)}


def test_only_a_clear_gain_counts() -> None:
    usual = [1.00, 1.02, 0.98, 1.01, 1.03]
    spoilt = [1.00, 1.02, 0.98, 9.00, 1.03]  # another process has lengthened one timing
    for fp32, bf16, expected in (
        (usual, [0.50, 0.51, 0.49, 0.52, 0.50], "bf16"),
        (usual, [0.80, 0.81, 0.79, 0.82, 0.80], "bf16"),
        (usual, [0.92, 0.93, 0.91, 0.92, 0.92], "fp32"),  # a small gain, though outside the spread
        (usual, [1.50, 1.51, 1.49, 1.52, 1.50], "fp32"),
        (usual, usual, "fp32"),
        # A large gain within the spread: on a busy machine nothing is known.
        ([1.0, 2.0, 0.6, 1.8, 1.2], [0.5, 1.9, 0.7, 1.1, 0.8], "fp32"),
        (spoilt, [0.50, 0.51, 7.00, 0.52, 0.50], "bf16"),
        (spoilt, [1.00, 1.01, 1.00, 0.99, 1.02], "fp32"),
        ([1.0, 1.0], [0.1, 0.1], "fp32"),  # too few to know a spread
    ):
        assert clearly_faster({"fp32": fp32, "bf16": bf16}) == expected
