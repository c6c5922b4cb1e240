"""Which arithmetic the CPU has, as far as tests can tell.

What ``training.precision: auto`` becomes depends on the processor and, where it has bf16, on how
busy the machine is. Tests compare numbers, so that here it becomes what they say: fp32, unless a
test, or ``MIXSEG_TEST_AUTO=bf16`` in the environment for a whole session, asks for bf16. Processors
without instructions for it emulate it. ``MIXSEG_TEST_AUTO=measured`` leaves things as they are.

Reaches what runs in pytest's processes and what is forked by ``launcher.py``; interpreters that
tests start themselves need settings that name a precision.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from mixseg.training import precision
from mixseg.training.precision import FEWEST_ROUNDS

VARIABLE = "MIXSEG_TEST_AUTO"
CHOICES = ("fp32", "bf16", "measured")

Replace = Callable[[object, str, object], None]
"""Sets an attribute, such as ``setattr`` or that of a :class:`pytest.MonkeyPatch`."""


def asked_for() -> str:
    """What the environment says."""
    name = os.environ.get(VARIABLE, "fp32")
    assert name in CHOICES, f"{VARIABLE}={name}; choices: {', '.join(CHOICES)}"
    return name


def with_bf16(there: bool, replace: Replace = setattr) -> None:
    """The processor has bf16 instructions and tiles, or has none."""
    replace(precision, "has_bf16", lambda: there)
    replace(precision, "has_amx", lambda: there)


def auto_becomes(name: str, replace: Replace = setattr) -> None:
    """Decide what ``auto`` gives on a CPU: fp32, bf16, or what is measured."""
    if name != "measured":
        with_bf16(name == "bf16", replace)
    if name == "bf16":
        replace(precision, "step_times", _bf16_takes_half)


def _bf16_takes_half(
    model: object, shape: Sequence[int], names: Sequence[str]
) -> dict[str, list[float]]:
    return {name: [0.5 if name == "bf16" else 1.0] * FEWEST_ROUNDS for name in names}
