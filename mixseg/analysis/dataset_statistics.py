"""What a split of a data set holds: a table for people, and files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

from rich.table import Table

from mixseg.data.contract import SegmentationDataset
from mixseg.data.statistics import ImageStatistics, LabelStatistics
from mixseg.escaping import csv_cell, markdown_cell
from mixseg.text_tables import csv_lines, markdown_table

COLUMNS = ("class", "pixels", "share, %", "images", "of images, %")
"""Of the table; shares are of the labelled pixels."""


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


def _rows(found: DatasetStatistics) -> list[tuple[str, ...]]:
    labels = found.labels
    return [
        (
            name,
            str(pixels),
            f"{100 * share:.3f}",
            str(images),
            f"{100 * images / max(1, labels.labels):.1f}",
        )
        for name, pixels, share, images in zip(
            found.dataset.classes.names,
            labels.pixels.tolist(),
            labels.shares.tolist(),
            labels.images.tolist(),
            strict=True,
        )
    ]


def summary(found: DatasetStatistics) -> list[str]:
    """What stands below the table: files, void, sizes and what is wrong."""
    void = found.void_share
    sizes = [f"{height}x{width} ({n})" for (height, width), n in found.images.sizes.items()]
    shown = ", ".join(sizes[:SIZES_SHOWN])
    if len(sizes) > SIZES_SHOWN:
        shown += f", and {len(sizes) - SIZES_SHOWN} others"
    lines = [
        f"{len(found.dataset)} images, {found.labels.labels} labels read"
        + (f", {found.unlabeled} images without a label" if found.unlabeled else ""),
        "no pixel" if void is None else f"void (no class): {100 * void:.2f} % of the pixels",
        f"image sizes, height x width: {shown or 'none could be read'}",
    ]
    problems = found.problems
    return [*lines, *(f"corrupt: {text}" for text in problems)]


SIZES_SHOWN = 5
"""Sizes that the terminal and Markdown name; JSON has all."""


def terminal_table(found: DatasetStatistics) -> Table:
    """The table for people."""
    table = Table(title=f"{found.dataset.name} {found.dataset.split}")
    for index, name in enumerate(COLUMNS):
        table.add_column(name, justify="right" if index else "left")
    for row in _rows(found):
        table.add_row(*row)
    return table


def to_markdown(found: DatasetStatistics) -> str:
    """The table and its summary in Markdown."""
    table = markdown_table([COLUMNS, *_rows(found)], numbers=True)
    title = markdown_cell(f"{found.dataset.name} {found.dataset.split}")
    notes = "\n".join(f"- {markdown_cell(line)}" for line in summary(found))
    return f"{title}\n\n{table}\n{notes}\n"


def to_csv(found: DatasetStatistics) -> str:
    """One line for each class; pixels of no class stand in a last one."""
    labels = found.labels
    counted = zip(
        found.dataset.classes.names, labels.pixels, labels.shares, labels.images, strict=True
    )
    lines: list[tuple[object, ...]] = [("class", "pixels", "share", "images")]
    lines += [(csv_cell(name), n, f"{share:.9g}", images) for name, n, share, images in counted]
    return csv_lines([*lines, ("(void)", labels.void, "", "")])


def to_json(found: DatasetStatistics) -> str:
    """Everything, as a JSON object; shares are fractions."""
    labels = found.labels
    content: dict[str, Any] = {
        "dataset": found.dataset.name,
        "root": str(found.dataset.root),
        "split": found.dataset.split,
        "images": len(found.dataset),
        "labels": labels.labels,
        "unlabeled": found.unlabeled,
        "void_pixels": labels.void,
        "void_share": found.void_share,
        "classes": [
            {"name": name, "pixels": pixels, "share": share, "images": images}
            for name, pixels, share, images in zip(
                found.dataset.classes.names,
                labels.pixels.tolist(),
                labels.shares.tolist(),
                labels.images.tolist(),
                strict=True,
            )
        ],
        "sizes": [
            {"height": height, "width": width, "images": count}
            for (height, width), count in found.images.sizes.items()
        ],
        "corrupt": found.problems,
    }
    return json.dumps(content, indent=1) + "\n"


FORMATS: dict[str, Callable[[DatasetStatistics], str]] = {
    ".csv": to_csv,
    ".json": to_json,
    ".md": to_markdown,
}
"""Ending of a file -> its content. Add an entry to add a format."""
