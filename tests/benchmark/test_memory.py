"""Which changes the table of memory measures."""

from __future__ import annotations

import pytest

from mixseg.benchmark import memory
from mixseg.config.resolve import resolve_settings
from tests import hardware

ALWAYS = ["activation checkpointing", "joint forward"]


@pytest.mark.parametrize(
    ("asked", "in_hardware", "measured"),
    [
        ("auto", False, []),
        ("auto", True, ["fp32", "bf16"]),
        ("fp32", False, []),
        ("fp32", True, ["bf16"]),
        ("bf16", False, ["fp32"]),
        ("bf16", True, ["fp32"]),
    ],
)
def test_no_emulated_precision(
    asked: str, in_hardware: bool, measured: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hardware.with_bf16(in_hardware, monkeypatch.setattr)
    settings = resolve_settings([], {"training.precision": asked, "training.device": "cpu"})
    changed = memory.levers(settings)
    assert list(changed) == [memory.AS_SET, *measured, *ALWAYS]
    for name in measured:
        assert changed[name].training.precision == name
    assert changed[memory.AS_SET] == settings
    assert changed["joint forward"].model.joint_forward
    assert changed["activation checkpointing"].model.activation_checkpointing
