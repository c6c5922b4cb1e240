"""Figures of the papers, for any data set or run. One file for each; the registry lists them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from mixseg.analysis.figures import (
    class_frequencies,
    class_positions,
    confidence,
    confident_share,
    cow_masks,
    learning_curves,
    mixing,
    predictions,
    temperatures,
)
from mixseg.analysis.figures.request import Drawn, Request, ShownDataset


@final
@dataclass(frozen=True)
class FigureKind:
    """A figure that can be drawn.

    Attributes:
        about: One line for people.
        draw: Draws it.
        is_chart: Whether there is an SVG beside the PNG.
        datasets: Most data sets that it takes.
        runs: Fewest and most runs that it takes.
        log: Whether it reads what runs logged.
        networks: Whether it applies the networks of runs, to images of their data.
        flags: Further flags that it takes.
    """

    about: str
    draw: Callable[[Request], Drawn]
    is_chart: bool = False
    datasets: int = 0
    runs: tuple[int, int] = (0, 0)
    log: bool = False
    networks: bool = False
    flags: frozenset[str] = frozenset()


MANY = 12
"""Most runs or data sets in a figure; more cannot be told apart."""

FIGURES: dict[str, FigureKind] = {
    "mixing": FigureKind(
        "two images, mask and what each mixer makes (Tranheden & Olsson: 2.6, 3.1, 3.2, 3.4)",
        mixing.draw,
        datasets=1,
        flags=frozenset({"source", "source-root", "seed", "ids"}),
    ),
    "cow-masks": FigureKind(
        "CowMasks of several sigmas, and what they make of two images (Tranheden & Olsson: 2.7)",
        cow_masks.draw,
        datasets=1,
        flags=frozenset({"sigmas", "seed", "ids"}),
    ),
    "class-frequencies": FigureKind(
        "share of each class on a log axis, data sets side by side (Tranheden & Olsson: 3.9)",
        class_frequencies.draw,
        is_chart=True,
        datasets=MANY,
    ),
    "class-positions": FigureKind(
        "where in the image each class lies (Tranheden & Olsson: 5.1 to 5.4)",
        class_positions.draw,
        datasets=1,
    ),
    "confidence": FigureKind(
        "confidence of predictions, and the pixels above the threshold (Tranheden & Olsson: 5.5)",
        confidence.draw,
        datasets=1,
        runs=(1, 1),
        networks=True,
        flags=frozenset({"network", "images", "ids", "seed", "threshold"}),
    ),
    "confident-share": FigureKind(
        "share of confident pixels over training, and the sigmoid ramp (Tranheden & Olsson: 2.9)",
        confident_share.draw,
        is_chart=True,
        runs=(1, MANY),
        log=True,
    ),
    "learning-curves": FigureKind(
        "mIoU of student and teacher, and losses, of one or several runs",
        learning_curves.draw,
        is_chart=True,
        runs=(1, MANY),
        log=True,
    ),
    "predictions": FigureKind(
        "image, truth, one column for each run (Tranheden & Olsson: 4.2, 4.3; Kim: 4-1 to 4-8)",
        predictions.draw,
        datasets=1,
        runs=(1, MANY),
        networks=True,
        flags=frozenset({"network", "images", "ids", "seed"}),
    ),
    "temperatures": FigureKind(
        "softmax of one pixel under temperatures, of an example or of a run (Kim: 2-12, 2-13)",
        temperatures.draw,
        is_chart=True,
        datasets=1,
        runs=(0, 1),
        networks=True,
        flags=frozenset({"network", "ids", "seed", "temperatures", "logits", "pixel"}),
    ),
}
"""Name -> figure. Add an entry to add a figure."""

__all__ = ["FIGURES", "Drawn", "FigureKind", "Request", "ShownDataset"]
