"""Predictions of several networks for the same photographs, as pictures (Lourenço, VI.F)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import final

from mixseg.analysis.comparison import Column, Row, comparison, reduced
from mixseg.data.arrays import ImageArray, LabelArray
from mixseg.evaluation.prediction import Predictor, write_picture

SHEET_ROWS = 12
"""Photographs in the sheet, unless said otherwise."""

PANEL = 1024
"""Most pixels of a side of a photograph in its own picture."""

THUMBNAIL = 320
"""Most pixels of a side of a photograph in the sheet."""


@final
class SideBySide:
    """Draws what networks see in each photograph, and a sheet of the first photographs.

    An ``on_image`` of :func:`mixseg.evaluation.prediction.predict_files`. Of the photographs that
    the sheet shows only thumbnails are kept.
    """

    def __init__(
        self,
        output_dir: Path,
        titles: Sequence[str],
        first: Predictor,
        others: Sequence[Predictor],
        rows: int = SHEET_ROWS,
    ) -> None:
        """Prepare the pictures.

        Args:
            output_dir: Gets ``comparison/NAME.png`` and ``comparison.png``.
            titles: Names of the networks, the first one's before the others'.
            first: The network whose predictions are handed in.
            others: Those that are applied here.
            rows: Most photographs in the sheet.
        """
        self._output = output_dir
        networks = (first, *others)
        self._columns = [
            Column(title, one.classes) for title, one in zip(titles, networks, strict=True)
        ]
        self._others = tuple(others)
        self._limit = rows
        self._rows: list[Row] = []

    def __call__(self, name: str, image: ImageArray, labels: LabelArray) -> None:
        """Write the picture of one photograph.

        Raises:
            DataError: It cannot be written.
        """
        row = Row(name, image, (labels, *(predict(image) for predict in self._others)))
        write_picture(
            self._output / "comparison" / f"{name}.png",
            comparison(self._columns, [reduced(row, PANEL)]),
        )
        if len(self._rows) < self._limit:
            self._rows.append(reduced(row, THUMBNAIL))

    def write_sheet(self) -> None:
        """Write the sheet; nothing if no photograph could be predicted.

        Raises:
            DataError: It cannot be written.
        """
        if self._rows:
            write_picture(self._output / "comparison.png", comparison(self._columns, self._rows))


def distinct_titles(runs: Sequence[tuple[str, int]]) -> list[str]:
    """A title for each checkpoint: the run's name, with the step or a number where that is shared.

    Args:
        runs: Name of the run and step of each checkpoint.
    """
    names = Counter(name for name, _ in runs)
    titles = [name if names[name] == 1 else f"{name}, step {step}" for name, step in runs]
    shared = Counter(titles)
    return [
        title if shared[title] == 1 else f"{titles[: index + 1].count(title)}: {title}"
        for index, title in enumerate(titles)
    ]
