"""The whole training step, where its time goes, and how much of the machine it uses."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.measure import Stopwatch, compare, matmul_peak, operations
from benchmarks.report import Report, report_of
from benchmarks.workload import Workload
from mixseg.analysis.costs import WARMUP
from mixseg.analysis.noise import random_batches
from mixseg.methods import SemiSupervised
from mixseg.training.loop import Learner
from tests.oracles.transcribed_step import TranscribedStep, check_transcribed

LABELED, MIXED = "student forward, labeled", "student forward, mixed"
TEACHER, LABELS = "teacher forward", "teacher's upsampling and labels"
LOSS, MASKS, AUGMENT = "upsampling and losses", "masks and mixing", "augmentation"
BACKWARD, OPTIMIZER, AVERAGE, REST = "backward", "optimizer", "average", "the rest"
PARTS_OF_STEP = (
    *(LABELED, MIXED, LOSS, TEACHER, LABELS, MASKS),
    *(AUGMENT, BACKWARD, OPTIMIZER, AVERAGE, REST),
)
"""The parts in the order of the table."""


Advance = Callable[[int], object]
"""Takes the step of a number."""


def step(work: Workload, console: Console) -> Report:
    """A semi-supervised step on random images, its parts, and how much of the machine it uses.

    Raises:
        ConfigError: There is no transcription of what the settings ask for.
    """
    settings = work.settings
    check_transcribed(settings)
    learner, own = work.noise.learner(choose=True)
    batches = random_batches(settings.seed, work.noise.counts, work.noise.sizes, work.num_classes)
    plain = TranscribedStep(learner.method.student, settings)
    there = {name: batch.to(work.device) for name, batch in batches.items()}
    transcribed = plain.advancing(there, settings.seed, work.device)

    number = itertools.count()
    comparison = compare(
        "semi-supervised step",
        lambda: own(next(number)),
        lambda: transcribed(next(number)),
        work.device,
        work.rounds,
    )
    flops = operations(lambda: own(next(number)))
    precision = learner.precision.name
    dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    peak = matmul_peak(work.device, dtypes[precision])
    share = flops / min(comparison.own) / peak
    watch, plain_watch = Stopwatch(work.device), Stopwatch(work.device)
    _watch_learner(learner, watch)
    _watch_transcription(plain, plain_watch)
    parts = _times_of_parts(((watch, own), (plain_watch, transcribed)), max(1, work.rounds // 2))
    report = report_of("step", [comparison])
    content = {
        "precision": precision,
        "seconds_of_parts": parts[0],
        "transcription_seconds_of_parts": parts[1],
        "flops": flops,
        "matmul_peak": peak,
        "share_of_peak": share,
    }
    caption = (
        f"{flops / 1e9:.1f} GFLOPs, at {100 * share:.0f} % of the speed of this machine's matrix "
        f"product in {precision} ({peak / 1e9:.0f} GFLOPs/s)"
    )
    table = _table(parts, precision, caption)
    return Report([*report.tables, table], report.content | content)


def _table(sides: Sequence[Mapping[str, float]], precision: str, caption: str) -> Table:
    table = Table(title="where the time of a step goes", caption=caption, caption_justify="left")
    table.add_column("part")
    for heading in (f"mixseg {precision} ms", "%", "transcription fp32 ms", "%"):
        table.add_column(heading, justify="right")
    for name in PARTS_OF_STEP:
        row = [name]
        for parts in sides:
            share = parts[name] / sum(parts.values())
            row += [f"{1000 * parts[name]:.1f}", f"{100 * share:.0f}"]
        table.add_row(*row)
    return table


def _times_of_parts(
    sides: Sequence[tuple[Stopwatch, Advance]], steps: int
) -> list[dict[str, float]]:
    """Seconds of each part of a step, averaged over some steps; the forms take turns."""
    for step in range(WARMUP + steps):
        for watch, advance in sides:
            if step == WARMUP:
                watch.seconds.clear()
            with watch.part(REST):
                advance(step)
    return [
        {name: watch.seconds.get(name, 0.0) / steps for name in PARTS_OF_STEP} for watch, _ in sides
    ]


def _watch_learner(learner: Learner, watch: Stopwatch) -> None:
    """Count the parts of mixseg's step; the learner cannot be used for anything else then."""
    method = learner.method
    assert isinstance(method, SemiSupervised)  # check_transcribed let no other through
    _watch_networks(method.student, method.networks["teacher"], watch)
    watch.watch(method, "pseudo_label", LABELS)
    watch.watch(method, "supervised_loss", LOSS)
    watch.watch(method, "consistency", LOSS)
    watch.watch(method, "mix", MASKS)
    watch.watch(method, "augment", AUGMENT)
    watch.watch(learner.precision, "backward", BACKWARD)
    watch.watch(learner.optimizer, "step", OPTIMIZER)
    watch.watch(method, "after_update", AVERAGE)


def _watch_transcription(plain: TranscribedStep, watch: Stopwatch) -> None:
    """Count the parts of the transcription."""
    _watch_networks(plain.student, plain.teacher, watch)
    named = {
        "pseudo_labels": LABELS,
        "supervised": LOSS,
        "consistency": LOSS,
        "masks": MASKS,
        "mixed": MASKS,
        "weights": MASKS,
        "augment": AUGMENT,
        "backward": BACKWARD,
        "move": OPTIMIZER,
        "follow": AVERAGE,
    }
    for method, name in named.items():
        watch.watch(plain, method, name)


def _watch_networks(student: Any, teacher: Any, watch: Stopwatch) -> None:
    for part in ("backbone", "head"):
        turns = itertools.cycle((LABELED, MIXED))
        watch.watch(getattr(student, part), "forward", lambda turns=turns: next(turns))  # type: ignore[misc]
        watch.watch(getattr(teacher, part), "forward", TEACHER)
    watch.watch(student.upsampling, "forward", LOSS)
    watch.watch(teacher.upsampling, "forward", LABELS)
