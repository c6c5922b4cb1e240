"""Device and arithmetic: what is there, and what autocast and the scaler do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from mixseg.errors import ConfigError
from mixseg.training.precision import Precision, choose_device, choose_precision, is_depthwise
from tests import hardware

CPU = torch.device("cpu")
DENSE = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 1))
DEPTHWISE = nn.Sequential(
    nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, 5, groups=8)
)


def test_a_device_that_is_not_there_is_refused() -> None:
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert choose_device("auto").type == expected
    assert choose_device("cpu") == CPU
    for name in ("gpu", "", "cuda:x", "meta", "mps", "cuda:99"):
        with pytest.raises(ConfigError, match=r"training\.device"):
            choose_device(name)


def test_auto_on_a_cpu_depends_on_its_tiles_and_the_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for tiles, expected in ((True, "bf16"), (False, "fp32")):
        hardware.with_bf16(tiles, monkeypatch.setattr)
        assert choose_precision("auto", CPU, DENSE).name == expected
        assert choose_precision("auto", CPU, DEPTHWISE).name == "fp32"
        assert choose_precision("bf16", CPU, DEPTHWISE).name == "bf16", "taken at its word"
    # One input channel makes every convolution "grouped by channel" without being depthwise.
    assert not is_depthwise(nn.Sequential(nn.Conv2d(1, 8, 3)))
    with pytest.raises(ConfigError, match="fp16"):
        Precision("fp16", CPU)


@pytest.mark.parametrize(("name", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_forward_in_the_precision_gradients_in_float32(name: str, dtype: torch.dtype) -> None:
    precision = Precision(name, CPU)  # type: ignore[arg-type]
    layer = nn.Conv2d(3, 4, 3)
    with precision.autocast():
        output = layer(torch.rand(1, 3, 8, 8))
    assert output.dtype == dtype
    precision.backward(output.float().square().mean())
    assert layer.weight.grad is not None
    assert layer.weight.dtype == layer.weight.grad.dtype == torch.float32
    assert not precision.scaler.is_enabled()
    precision.scaler.load_state_dict(precision.scaler.state_dict())


PEAKS = """
import torch
from mixseg.training.precision import peak_memory

before = peak_memory(torch.device("cpu"))
held = bytearray(2**26)
print(before, peak_memory(torch.device("cpu")))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells it by /proc")
def test_peak_memory_is_that_of_this_process_alone() -> None:
    """What a large process starts inherits its peak, as ``getrusage`` tells it."""
    held = bytearray(2**30)
    done = subprocess.run([sys.executable, "-c", PEAKS], capture_output=True, text=True, check=True)
    del held
    before, after = map(int, done.stdout.split())
    assert before < 2**30
    assert after - before == pytest.approx(2**26, rel=0.2)
