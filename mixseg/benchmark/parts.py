"""The parts of the benchmark by their names."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console

from mixseg.benchmark.augment import measure_augment
from mixseg.benchmark.ema import measure_ema
from mixseg.benchmark.evaluate import measure_evaluate
from mixseg.benchmark.loader import measure_loader
from mixseg.benchmark.memory import measure_memory
from mixseg.benchmark.mixers import measure_mixers
from mixseg.benchmark.report import PartReport
from mixseg.benchmark.step import measure_step
from mixseg.benchmark.workload import Workload
from mixseg.errors import ConfigError, unknown_name

PARTS: dict[str, Callable[[Workload, Console], PartReport]] = {
    "step": lambda work, _: PartReport("step", *measure_step(work)),
    "mixers": lambda work, _: PartReport("mixers", measure_mixers(work)),
    "augment": lambda work, _: PartReport("augment", measure_augment(work)),
    "ema": lambda work, _: PartReport("ema", measure_ema(work)),
    "loader": lambda work, _: PartReport("loader", measure_loader(work)),
    "evaluate": lambda work, _: PartReport("evaluate", measure_evaluate(work)),
    "memory": lambda work, _: PartReport("memory", memory=measure_memory(work)),
}
"""Name -> what measures it. Add an entry to add a part."""

DEFAULT_PARTS = tuple(name for name in PARTS if name != "memory")
"""What is measured when no part is named; memory takes a process for each of its numbers."""


def check_parts(names: Sequence[str]) -> None:
    """Raise a ConfigError for an unknown part."""
    for name in names:
        if name not in PARTS:
            raise ConfigError(unknown_name("part of the benchmark", name, PARTS))
