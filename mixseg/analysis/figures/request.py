"""What a figure is drawn from, and what it becomes."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

from mixseg.analysis.charts import png_of, svg_of
from mixseg.analysis.metrics import Line
from mixseg.config.sections import Settings
from mixseg.data.arrays import ImageArray
from mixseg.data.contract import SegmentationDataset
from mixseg.data.names import composed
from mixseg.errors import ConfigError, DataError, unknown_name
from mixseg.escaping import csv_cell
from mixseg.evaluation.prediction import Predictor
from mixseg.randomness import generator
from mixseg.text_tables import csv_lines


@final
@dataclass(frozen=True)
class ShownDataset:
    """A split with the name that it has in figures."""

    title: str
    dataset: SegmentationDataset


@final
@dataclass(frozen=True)
class ShownRun:
    """A run with the name that it has in figures.

    Attributes:
        title: Distinct among the runs of a figure.
        path: Its folder, or that of the checkpoint that was named.
        settings: Of the run.
        lines: Its log; empty where the figure does not need it.
        predictor: Its network; None where the figure does not need it.
    """

    title: str
    path: Path
    settings: Settings
    lines: Sequence[Line] = ()
    predictor: Predictor | None = None

    @property
    def predict(self) -> Predictor:
        """Its network, in a figure that needs it."""
        assert self.predictor is not None
        return self.predictor


@final
@dataclass(frozen=True)
class Request:
    """What a figure is drawn from; each takes the part that it needs.

    Attributes:
        datasets: Splits; figures of one take the first.
        source: Split whose classes are pasted on those of the first data set.
        runs: Runs.
        seed: All randomness comes from it.
        images: How many images to show.
        ids: Samples to show; empty chooses some by the seed.
        threshold: Confidence above which a pixel counts as confident; None takes the run's.
        sigmas: Of CowMasks, in pixels of a 512x1024 image.
        temperatures: Each above 0.
        logits: Of one pixel; None takes a run's, or an example.
        pixel: Row and column of the pixel in the image; None chooses one.
        advance: Called with the number of parts done and of all.
    """

    datasets: tuple[ShownDataset, ...] = ()
    source: ShownDataset | None = None
    runs: tuple[ShownRun, ...] = ()
    seed: int = 0
    images: int = 4
    ids: tuple[str, ...] = ()
    threshold: float | None = None
    sigmas: tuple[float, ...] = (4.0, 8.0, 16.0, 32.0, 64.0)
    temperatures: tuple[float, ...] = (0.5, 1.0, 2.0)
    logits: tuple[float, ...] | None = None
    pixel: tuple[int, int] | None = None
    advance: Callable[[int, int], None] = field(default=lambda done, total: None)

    def chosen(self, dataset: SegmentationDataset, count: int) -> list[int]:
        """Which samples are shown: those that were named, else ``count`` by the seed, in order.

        Raises:
            ConfigError: There is no sample of a name.
            DataError: There are fewer samples than the figure needs.
        """
        places = {sample.id: index for index, sample in enumerate(dataset.samples)}
        ids = [composed(name) for name in self.ids]
        for name in ids:
            if name not in places:
                there = f"{dataset.root} has {len(places)} images"
                raise ConfigError(f"--ids: {unknown_name('image', name, places, there)}")
        if ids:
            return [places[name] for name in ids]
        if len(dataset) < count:
            raise DataError(f"{dataset.root}: {len(dataset)} images, but {count} are shown")
        order = torch.randperm(len(dataset), generator=generator(self.seed, "shown images"))
        return sorted(order[:count].tolist())


def short_names(ids: Sequence[str]) -> list[str]:
    """Ids without what all of them begin or end with, as far as whole parts of names go.

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


@final
@dataclass(frozen=True)
class Drawn:
    """A figure.

    Attributes:
        png: The picture.
        csv: The numbers that it shows.
        svg: The picture again, where it is a chart.
    """

    png: bytes
    csv: str
    svg: bytes | None = None


def drawn_picture(picture: ImageArray, table: str) -> Drawn:
    """A figure of pixels, RGB uint8 of shape (H, W, 3)."""
    content = io.BytesIO()
    Image.fromarray(picture).save(content, format="PNG", optimize=True)
    return Drawn(content.getvalue(), table)


def drawn_chart(figure: Figure, table: str) -> Drawn:
    """A figure of lines and letters."""
    return Drawn(png_of(figure), table, svg_of(figure))


def csv_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV; names cannot act in a spreadsheet, numbers keep 9 digits."""
    return csv_lines([_cell(value) for value in line] for line in (head, *rows))


def _cell(value: object) -> object:
    if isinstance(value, str):
        return csv_cell(value)
    return f"{value:.9g}" if isinstance(value, float | np.floating) else value
