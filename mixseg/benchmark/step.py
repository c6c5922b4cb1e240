"""The whole training step, where its time goes, and how much of the machine it uses."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from rich.console import Console

from mixseg.analysis.costs import WARMUP
from mixseg.benchmark.measure import Comparison, Stopwatch, compare, matmul_peak, operations
from mixseg.benchmark.transcribed_step import TranscribedStep, check_transcribed
from mixseg.benchmark.workload import Workload
from mixseg.data.streams import Batch
from mixseg.engine.learner import Learner
from mixseg.engine.method import MethodInputs, StepRandom
from mixseg.methods import SemiSupervised
from mixseg.training.learner import build_learner
from mixseg.training.on_noise import random_batches, training_step
from mixseg.training.precision import precision_of_run

LABELED, MIXED = "student forward, labelled", "student forward, mixed"
TEACHER, LABELS = "teacher forward", "teacher's upsampling and labels"
LOSS, MASKS, AUGMENT = "upsampling and losses", "masks and mixing", "augmentation"
BACKWARD, OPTIMIZER, AVERAGE, REST = "backward", "optimizer", "average", "the rest"
PARTS_OF_STEP = (
    *(LABELED, MIXED, LOSS, TEACHER, LABELS, MASKS),
    *(AUGMENT, BACKWARD, OPTIMIZER, AVERAGE, REST),
)
"""In the order of the table."""

Advance = Callable[[int], object]


@final
@dataclass(frozen=True)
class StepReport:
    """What is known of a step besides its time.

    Attributes:
        precision: Of mixseg's form; the transcription is in fp32.
        parts: Part of the step -> seconds, of mixseg's form.
        transcription_parts: The same of the transcription.
        flops: Operations of mixseg's form, a multiplication and an addition counted as two.
        peak: Operations per second of the machine's matrix product, in that precision.
        share: Operations of a step over those that the machine could have done meanwhile.
    """

    precision: str
    parts: Mapping[str, float]
    transcription_parts: Mapping[str, float]
    flops: int
    peak: float
    share: float

    def to_json(self) -> dict[str, Any]:
        """A JSON object; seconds and operations as they are."""
        return {
            "precision": self.precision,
            "seconds_of_parts": dict(self.parts),
            "transcription_seconds_of_parts": dict(self.transcription_parts),
            "flops": self.flops,
            "matmul_peak": self.peak,
            "share_of_peak": self.share,
        }


def measure_step(work: Workload, console: Console) -> tuple[list[Comparison], StepReport]:
    """A semi-supervised step on random images; the console is told of its precision.

    Raises:
        ConfigError: There is no transcription of what the settings ask for.
    """
    settings = work.settings
    check_transcribed(settings)
    choose = precision_of_run(settings, work.size, console)
    learner, _ = build_learner(
        settings, work.num_classes, MethodInputs(), download=False, choose=choose
    )
    sizes = dict.fromkeys(learner.method.streams, work.size)
    counts = {"labeled": settings.data.batch_labeled, "unlabeled": settings.data.batch_unlabeled}
    batches = random_batches(settings.seed, counts, sizes, work.num_classes)
    plain = TranscribedStep(learner.method.student, settings)
    own = training_step(learner, batches, settings.training.accumulate)
    there = {name: batch.to(work.device) for name, batch in batches.items()}
    transcribed = advancing(plain, there, settings.seed, work.device)

    number = itertools.count()
    comparison = compare(
        "semi-supervised step",
        lambda: own(next(number)),
        lambda: transcribed(next(number)),
        work.device,
        work.rounds,
    )
    flops = operations(lambda: own(next(number)))
    dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    peak = matmul_peak(work.device, dtypes[learner.precision.name])
    fastest = min(comparison.own)
    watch, plain_watch = Stopwatch(work.device), Stopwatch(work.device)
    watch_learner(learner, watch)
    watch_transcription(plain, plain_watch)
    parts, transcription_parts = times_of_parts(
        ((watch, own), (plain_watch, transcribed)), max(1, work.rounds // 2)
    )
    report = StepReport(
        precision=learner.precision.name,
        parts=parts,
        transcription_parts=transcription_parts,
        flops=flops,
        peak=peak,
        share=flops / fastest / peak,
    )
    return [comparison], report


def advancing(
    plain: TranscribedStep, batches: Mapping[str, Batch], seed: int, device: torch.device
) -> Advance:
    """A function that takes the transcribed step with the draws that the trainer's step has."""
    return lambda step: plain(batches, step, StepRandom.of(seed, step, 0, device))


def times_of_parts(
    sides: Sequence[tuple[Stopwatch, Advance]], steps: int
) -> list[dict[str, float]]:
    """Seconds of each part of a step, the mean over some steps, of forms that take turns."""
    for step in range(WARMUP + steps):
        for watch, advance in sides:
            if step == WARMUP:
                watch.seconds.clear()
            with watch.part(REST):
                advance(step)
    return [
        {name: watch.seconds.get(name, 0.0) / steps for name in PARTS_OF_STEP} for watch, _ in sides
    ]


def watch_learner(learner: Learner, watch: Stopwatch) -> None:
    """Count the parts of mixseg's step; the learner is of no further use than being watched."""
    method = learner.method
    assert isinstance(method, SemiSupervised)  # check_transcribed let no other through
    _watch_networks(method.student, method.teacher.network, watch)
    watch.watch(method, "pseudo_label", LABELS)
    watch.watch(method.labeled_loss, "loss", LOSS)
    watch.watch(method, "consistency", LOSS)
    watch.watch(method, "mix", MASKS)
    watch.watch(method, "augment", AUGMENT)
    watch.watch(learner.precision, "backward", BACKWARD)
    watch.watch(learner.optimizer, "step", OPTIMIZER)
    watch.watch(method, "after_update", AVERAGE)


def watch_transcription(plain: TranscribedStep, watch: Stopwatch) -> None:
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
