"""A word on photographs that the size a run was trained at pulls out of shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from rich.console import Console

from mixseg.data.arrays import ImageArray, LabelArray, Size
from mixseg.terminal import say

NOTICEABLE = 0.1
"""Change of width over height from which on it is said."""


@final
class SquashNote:
    """Says once that ``data.resize`` changes the shape of a photograph, and what to do.

    An ``on_image`` of :func:`mixseg.evaluation.prediction.predict_files`, for sizes that nobody
    asked for. Of several processes the first one looks at its own photographs.
    """

    def __init__(self, console: Console, input_sizes: Sequence[Size | None]) -> None:
        """Prepare the note.

        Args:
            console: Where it is printed.
            input_sizes: Height and width that the runs resize to; None keeps an image's own.
        """
        self._console = console
        self._left = {size for size in input_sizes if size is not None}

    def __call__(self, name: str, image: ImageArray, labels: LabelArray) -> None:
        """Look at one photograph."""
        height, width = image.shape[:2]
        for rows, columns in self._left:
            change = change_of_shape((height, width), (rows, columns))
            if change > NOTICEABLE:
                text = (
                    f"note: {name} is {height}x{width} and reaches the network as {rows}x{columns} "
                    f"(data.resize of the run), which changes its shape by {100 * change:.0f} %; "
                    "--resize HEIGHTxWIDTH gives another size, --resize none keeps each image's "
                    "own. Further images are not named"
                )
                say(self._console, text)
                self._left = set()  # one note
                break


def change_of_shape(size: Size, resized: Size) -> float:
    """How much longer one side gets in terms of the other; 0 if only the size changes."""
    ratio = resized[1] * size[0] / (resized[0] * size[1])
    return max(ratio, 1 / ratio) - 1
