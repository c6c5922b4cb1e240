"""Figures: how they are registered, what they are drawn from, and the files that they become.

A figure is one file in this folder, with a function that :func:`figure` registers. The function
takes the opened data and runs; its further parameters are flags, documented below ``Args:``. It
imports torch itself, which takes seconds: names and flags of all figures are known before.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, final

import numpy as np
from PIL import Image

from mixseg.charts import png_of, svg_of
from mixseg.config.options import Setting, options_of
from mixseg.config.sections import Settings
from mixseg.config.values import SEEDS, Range
from mixseg.data.contract import SegmentationDataset
from mixseg.data.images import ImageArray
from mixseg.data.names import composed
from mixseg.errors import ConfigError, DataError, unknown_name
from mixseg.tables import csv_lines
from mixseg.terminal import csv_cell

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from mixseg.evaluation.prediction import Predictor


class ShownDataset(NamedTuple):
    """A split with the name that it has in figures."""

    title: str
    dataset: SegmentationDataset


class ShownRun(NamedTuple):
    """A run with the name that it has in figures.

    Attributes:
        title: Distinct among the runs of a figure.
        path: Its folder, or that of the checkpoint that was named.
        settings: Settings of the run.
        lines: Its ``metrics.jsonl``; empty where the figure does not read it.
        predictor: Its network; None where the figure does not apply it.
    """

    title: str
    path: Path
    settings: Settings
    lines: Sequence[dict[str, Any]] = ()
    predictor: Predictor | None = None

    @property
    def predict(self) -> Predictor:
        """Its network, in a figure that applies it."""
        assert self.predictor is not None
        return self.predictor


class ShownCheckpoint(NamedTuple):
    """A network of a run after a step.

    ``aligning`` is what the probabilities of a teacher were multiplied by to align its labels with
    a distribution of classes, float32, shape (C,); None for other networks.
    """

    step: int
    predict: Predictor
    aligning: Tensor | None


@final
@dataclass(frozen=True)
class Given:
    """What a figure is drawn from.

    Attributes:
        datasets: The splits; most figures take one.
        runs: The runs.
        shown: Which samples of the first split are shown.
        seed: All randomness comes from it.
        advance: Called with the number of parts done and of all.
        checkpoints: Each opens one of the run; by their steps.
    """

    datasets: Sequence[ShownDataset] = ()
    runs: Sequence[ShownRun] = ()
    shown: Sequence[int] = ()
    seed: int = 0
    advance: Callable[[int, int], None] = lambda done, total: None
    checkpoints: Sequence[Callable[[], ShownCheckpoint]] = ()

    @property
    def dataset(self) -> SegmentationDataset:
        """The first split."""
        return self.datasets[0].dataset

    def images(self) -> Iterator[tuple[int, str, ImageArray]]:
        """Index, short name and pixels of each image that is shown."""
        captions = short_names([self.dataset.samples[index].id for index in self.shown])
        for done, (index, caption) in enumerate(zip(self.shown, captions, strict=True), start=1):
            yield index, caption, self.dataset.image(index)
            self.advance(done, len(self.shown))


def chosen(
    dataset: SegmentationDataset, count: int, seed: int, ids: Sequence[str] = ()
) -> list[int]:
    """Which samples are shown: those that were named, else ``count`` by the seed, in order.

    Raises:
        ConfigError: There is no sample of a name.
        DataError: There are fewer samples than the figure needs.
    """
    import torch

    from mixseg.randomness import generator

    places = {sample.id: index for index, sample in enumerate(dataset.samples)}
    names = [composed(name) for name in ids]
    for name in names:
        if name not in places:
            there = f"{dataset.root} has {len(places)} images"
            raise ConfigError(f"--ids: {unknown_name('image', name, places, there)}")
    if names:
        return [places[name] for name in names]
    if len(dataset) < count:
        raise DataError(f"{dataset.root}: {len(dataset)} images, but {count} are shown")
    order = torch.randperm(len(dataset), generator=generator(seed, "shown images"))
    return sorted(order[:count].tolist())


def short_names(ids: Sequence[str]) -> list[str]:
    """Ids without the folders and the endings that all of them share.

    Ids of Cityscapes are longer than a picture is wide, and all end alike.
    """
    plain = [name.rpartition("/")[2] for name in ids]
    names = plain if len(set(plain)) == len(set(ids)) else list(ids)
    if len(set(names)) < 2:
        return names
    parts = [name.split("_") for name in names]
    while len({one[-1] for one in parts}) == 1 and all(len(one) > 1 for one in parts):
        parts = [one[:-1] for one in parts]
    return ["_".join(one) for one in parts]


class Drawn(NamedTuple):
    """A figure: RGB uint8 of shape (H, W, 3) or a chart, and a table of the numbers it shows."""

    picture: ImageArray | Figure
    head: Sequence[str]
    rows: Iterable[Sequence[object]]

    def files(self) -> dict[str, bytes | str]:
        """Ending of a file -> its content; a chart has an SVG too.

        In the CSV names cannot act in a spreadsheet, and numbers keep 9 digits.
        """
        table = csv_lines([_cell(value) for value in line] for line in (self.head, *self.rows))
        if not isinstance(self.picture, np.ndarray):
            return {"png": png_of(self.picture), "csv": table, "svg": svg_of(self.picture)}
        content = io.BytesIO()
        Image.fromarray(self.picture).save(content, format="PNG", optimize=True)
        return {"png": content.getvalue(), "csv": table}


def _cell(value: object) -> object:
    if isinstance(value, str):
        return csv_cell(value)
    return f"{value:.9g}" if isinstance(value, float | np.floating) else value


OPENING = {
    "network": Setting(
        "network",
        Literal["student", "teacher", "average"],
        None,
        "student, teacher or average of runs [teacher or average]",
    ),
    "ids": Setting("ids", tuple[str, ...], (), "images to show [chosen by the seed]"),
    "seed": Setting("seed", int, 0, "chooses images and masks [0]", Range(0, SEEDS)),
    "images": Setting("images", int, 4, "how many images to show [4]", Range(1, 1000)),
}
"""Flags that say what is opened; functions do not take them."""

MANY = 12
"""Most runs or data sets in a figure; more cannot be told apart."""


def check_distinct(flag: str, values: Sequence[float]) -> None:
    """Refuse numbers of which one is given twice.

    Raises:
        ConfigError: One is.
    """
    if len(set(values)) < len(values):
        raise ConfigError(f"{flag}: one is there twice")


@final
@dataclass(frozen=True)
class FigureKind:
    """A figure that can be drawn.

    Attributes:
        about: One line that says what it shows.
        draw: Draws it; its parameters with a default are flags.
        is_chart: Whether there is an SVG beside the PNG.
        datasets: Most data sets that it takes.
        runs: Fewest and most runs that it takes.
        reads: What it needs of runs: their ``log``, or their ``network`` with images of their data,
            or the networks of all ``checkpoints`` with unlabeled images.
        images: How many images of the first data set it shows.
        counted: Whether ``--images`` changes that number.
    """

    about: str
    draw: Callable[..., Drawn]
    is_chart: bool = False
    datasets: int = 0
    runs: tuple[int, int] = (0, 0)
    reads: Literal["", "log", "network", "checkpoints"] = ""
    images: int = 0
    counted: bool = False

    @property
    def flags(self) -> dict[str, Setting]:
        """Name -> flag, those that say what is opened among them."""
        opening = ["network"] if self.reads in ("network", "checkpoints") else []
        opening += ["ids", "seed"] if self.images else []
        opening += ["images"] if self.counted else []
        own = {one.parameter.replace("_", "-"): one for one in options_of(self.draw, "", "")}
        return {name: OPENING[name] for name in opening} | own


FIGURES: dict[str, FigureKind] = {}
"""Name -> figure."""


def figure(
    name: str, about: str, **kind: Any
) -> Callable[[Callable[..., Drawn]], Callable[..., Drawn]]:
    """Register the function below as a figure; arguments as in :class:`FigureKind`."""

    def register(draw: Callable[..., Drawn]) -> Callable[..., Drawn]:
        FIGURES[name] = FigureKind(about, draw, **kind)
        return draw

    return register
