"""What a table shows of a run: numbers that can be read off its scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from mixseg.evaluation.protocols import covered_classes, mean_over, protocol

if TYPE_CHECKING:
    from mixseg.evaluation.scores import Scores

DEFAULT = "mIoU"


def _without_absent(name: str) -> Callable[[Scores], float | None]:
    """A mean that leaves out what SYNTHIA lacks; None where the classes are other ones."""

    def mean(scores: Scores) -> float | None:
        classes = protocol("synthia", scores.classes).get(name)
        return None if classes is None else mean_over(scores, classes)

    return mean


def covered(metric: str, scores: Sequence[Scores]) -> str:
    """Such as ``17 of 19 classes`` where a mean is over fewer classes than it is named for."""
    if not scores or metric not in (DEFAULT, "mIoU-13", "mIoU-16"):
        return ""
    names = scores[0].classes
    return covered_classes(
        scores, names if metric == DEFAULT else protocol("synthia", names).get(metric, ())
    )


METRICS: Final[dict[str, Callable[[Scores], float | None]]] = {
    DEFAULT: lambda scores: scores.miou,
    "mIoU-13": _without_absent("mIoU-13"),
    "mIoU-16": _without_absent("mIoU-16"),
    "pixel accuracy": lambda scores: scores.pixel_accuracy,
}
"""Name -> fraction in [0, 1], or None if the scores do not have it. Add an entry to add one."""
