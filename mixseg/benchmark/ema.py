"""The teacher's average, against a loop over parameters."""

from __future__ import annotations

import copy

from mixseg.benchmark import transcription
from mixseg.benchmark.measure import Comparison, compare
from mixseg.benchmark.workload import Workload
from mixseg.targets import Average


def measure_ema(work: Workload) -> list[Comparison]:
    """One step of the average of parameters and batch-norm statistics, late in a run."""
    student = work.model()
    decay, late = work.settings.teacher.decay, 10_000
    teacher, plain = Average(student, decay), copy.deepcopy(student)
    return [
        compare(
            "average of parameters and buffers",
            lambda: teacher.follow(late),
            lambda: transcription.follow(plain, student, late, decay, buffers=True),
            work.device,
            work.rounds,
        )
    ]
