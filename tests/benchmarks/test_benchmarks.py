"""``python -m benchmarks``: what it counts and prints. Which form is faster is not tested."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from benchmarks import memory
from benchmarks.__main__ import benchmark
from benchmarks.measure import operations
from mixseg.cli import run
from mixseg.config.resolve import resolve_settings
from tests import hardware
from tests.end_to_end.conftest import TINY

ROWS = {"step": 1, "mixers": 4, "augment": 3, "ema": 1, "loader": 4, "evaluate": 2}


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return str(path)


def test_all_parts_that_compare(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    speed = tmp_path / "speed.json"
    options = ["--rounds", "2", "--files", "64x128", "--json", str(speed), "--device", "cpu"]
    assert run(benchmark, ["--config", config, *options]) == 0
    printed = capsys.readouterr().out
    content = json.loads(speed.read_text())
    assert (content["size"], content["rounds"], content["files"]) == ([64, 128], 2, [64, 128])
    for part, count in ROWS.items():
        assert part in printed
        rows = content[part]["comparisons"]
        assert len(rows) == count
        for row in rows:
            times = row["seconds"], row["transcription_seconds"]
            assert all(len(one) == 2 and min(one) > 0 for one in times)
            low, high = row["ratio_quartiles"]
            assert low <= row["ratio"] <= high
    step = content["step"]
    assert step["flops"] > 1e6 and step["share_of_peak"] > 0
    for parts in (step["seconds_of_parts"], step["transcription_seconds_of_parts"]):
        assert all(seconds > 0 for seconds in parts.values())


@pytest.mark.slow
def test_memory(config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "SHARES", (0.25, 1.0))
    found = tmp_path / "memory.json"
    options = ["--json", str(found), "--device", "cpu", "--demo.size", "[256,512]"]
    assert run(benchmark, ["memory", "--config", config, *options]) == 0
    peaks = json.loads(found.read_text())["memory"]["peaks"]
    assert {tuple(one) for one in peaks.values()} == {("128x256", "256x512")}
    assert all(one["128x256"] < one["256x512"] for one in peaks.values())
    # Small networks promise no order of the others: recomputed activations are in use as well.
    assert {"as set", "activation checkpointing", "joint forward"} <= peaks.keys()
    assert peaks["as set"]["256x512"] < peaks["joint forward"]["256x512"]


def test_refused(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    for line, message in (
        ("mixer", "mixers"),
        ("ema --rounds 0", "--rounds"),
        ("loader --files 8x8", "--files"),
        ("ema --json nowhere/speed.json", "nowhere"),
        ("step --mixer none", "mixing.mixer"),
        ("ema --dataset folder --set data.root=x --data.crop 64x64", "folder"),
    ):
        assert run(benchmark, [*line.split(), "--config", config]) == 2
        assert message in capsys.readouterr().err


def test_no_emulated_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    for asked, in_hardware, measured in (
        ("auto", False, []),
        ("auto", True, ["fp32", "bf16"]),
        ("fp32", False, []),
        ("bf16", False, ["fp32"]),
    ):
        hardware.with_bf16(in_hardware, monkeypatch.setattr)
        settings = resolve_settings([], {"training.precision": asked, "training.device": "cpu"})
        changed = memory.levers(settings)
        others = ["activation checkpointing", "joint forward"]
        assert list(changed) == [memory.AS_SET, *measured, *others]
        assert changed[memory.AS_SET] == settings
        assert [changed[name].training.precision for name in measured] == measured
        assert changed[others[0]].model.activation_checkpointing
        assert changed[others[1]].options["model.joint_forward"]


@pytest.mark.parametrize("groups", [1, 8])
@pytest.mark.parametrize("transposed", [False, True])
def test_operations_of_a_convolution_and_its_gradients(groups: int, transposed: bool) -> None:
    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    layer = kind(8, 16, kernel_size=3, stride=2, padding=1, groups=groups)
    images = torch.rand(2, 8, 6, 10, requires_grad=True)
    # Every pixel of the smaller side meets every tap of the kernels that see its channel.
    pixels = 6 * 10 if transposed else 3 * 5
    forward = 2 * 2 * pixels * 9 * 8 * 16 // groups
    assert operations(lambda: layer(images.detach())) == forward
    assert operations(lambda: layer(images.detach()).sum().backward()) == 2 * forward
    assert operations(lambda: layer(images).sum().backward()) == 3 * forward
