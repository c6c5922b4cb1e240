"""What a split of a data set holds: a table for the terminal, and files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import final

from rich.table import Table

from mixseg.data.contract import SegmentationDataset
from mixseg.data.statistics import ImageStatistics, LabelStatistics
from mixseg.escaping import csv_cell, markdown_cell
from mixseg.tables import csv_lines, markdown_table, terminal_table

COLUMNS = ("class", "pixels", "share, %", "images", "of images, %")
"""Headings of the table; shares are of the labeled pixels."""

SIZES_SHOWN = 5
"""Sizes that the terminal and Markdown name; JSON has all."""


@final
@dataclass(frozen=True)
class DatasetStatistics:
    """What a split holds.

    Attributes:
        dataset: The split.
        labels: Counts of its labels.
        images: Sizes of its images.
    """

    dataset: SegmentationDataset
    labels: LabelStatistics
    images: ImageStatistics

    @property
    def title(self) -> str:
        """Name of the data set and of the split."""
        return f"{self.dataset.name} {self.dataset.split}"

    @property
    def unlabeled(self) -> int:
        """Images that have no label file."""
        return sum(sample.label is None for sample in self.dataset.samples)

    @property
    def void_share(self) -> float | None:
        """Share of the pixels of all labels that belong to no class; None without any pixel."""
        total = int(self.labels.pixels.sum()) + self.labels.void
        return self.labels.void / total if total else None

    @property
    def problems(self) -> list[str]:
        """What is wrong with files, one line each, by the ids of their samples."""
        # An image that is damaged may be found twice, by its label too.
        found = {*self.labels.problems.items(), *self.images.problems.items()}
        return [text for _, text in sorted(found)]

    @property
    def classes(self) -> list[tuple[str, int, float, int]]:
        """Name, pixels, share of the labeled pixels and images of each class."""
        counts = (self.labels.pixels, self.labels.shares, self.labels.images)
        columns = (column.tolist() for column in counts)
        return list(zip(self.dataset.classes.names, *columns, strict=True))

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """The table as text."""
        total = max(1, self.labels.labels)
        return [
            (name, str(pixels), f"{100 * share:.3f}", str(images), f"{100 * images / total:.1f}")
            for name, pixels, share, images in self.classes
        ]

    def summary(self) -> list[str]:
        """What stands below the table: files, void, sizes and what is wrong."""
        void = self.void_share
        sizes = [f"{height}x{width} ({n})" for (height, width), n in self.images.sizes.items()]
        shown = ", ".join(sizes[:SIZES_SHOWN])
        if len(sizes) > SIZES_SHOWN:
            shown += f", and {len(sizes) - SIZES_SHOWN} others"
        return [
            f"{len(self.dataset)} images, {self.labels.labels} labels read"
            + (f", {self.unlabeled} images without a label" if self.unlabeled else ""),
            "no pixel" if void is None else f"void (no class): {100 * void:.2f} % of the pixels",
            f"image sizes, height x width: {shown or 'none could be read'}",
            *(f"corrupt: {text}" for text in self.problems),
        ]

    def terminal_table(self) -> Table:
        """The table for the terminal."""
        return terminal_table(COLUMNS, self.rows, title=self.title)

    def to_markdown(self) -> str:
        """The table and its summary in Markdown."""
        table = markdown_table([COLUMNS, *self.rows], numbers=True)
        notes = "\n".join(f"- {markdown_cell(line)}" for line in self.summary())
        return f"{markdown_cell(self.title)}\n\n{table}\n{notes}\n"

    def to_csv(self) -> str:
        """One line for each class; pixels of no class stand in a last one."""
        lines = [
            (csv_cell(name), n, f"{share:.9g}", count) for name, n, share, count in self.classes
        ]
        void = ("(void)", self.labels.void, "", "")
        return csv_lines([("class", "pixels", "share", "images"), *lines, void])

    def to_json(self) -> str:
        """Everything, as a JSON object; shares are fractions."""
        keys = ("name", "pixels", "share", "images")
        content = {
            "dataset": self.dataset.name,
            "root": str(self.dataset.root),
            "split": self.dataset.split,
            "images": len(self.dataset),
            "labels": self.labels.labels,
            "unlabeled": self.unlabeled,
            "void_pixels": self.labels.void,
            "void_share": self.void_share,
            "classes": [dict(zip(keys, one, strict=True)) for one in self.classes],
            "sizes": [
                {"height": height, "width": width, "images": count}
                for (height, width), count in self.images.sizes.items()
            ],
            "corrupt": self.problems,
        }
        return json.dumps(content, indent=1) + "\n"
