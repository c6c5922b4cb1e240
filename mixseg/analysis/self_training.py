"""The tables of a self-training: scores and pseudo-labels of each round."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from mixseg.files import write_atomically
from mixseg.tables import csv_lines, markdown_table, percent, terminal_table
from mixseg.terminal import csv_cell
from mixseg.training.self_training import Round

HEAD = ("round", "student", "teacher or average", "labeled by", "labeled", "right", "of all right")
NOTES = (
    "mIoU after the last step; labeled by: the network of the round before that was better then",
    "labeled: pixels of the unlabeled images that have a pseudo-label; right: those of them that "
    "agree with true labels, where there are some, and of all predictions",
)
CLASS_NOTE = "share of each class among the pseudo-labeled pixels; right: of those, the right ones"


def write_report(folder: Path, rounds: Sequence[Round]) -> list[str]:
    """Write ``rounds.csv`` and ``rounds.md``; gives their names."""
    names = _classes(rounds)
    head = [*HEAD, *(f"{what} of {name}" for name in names for what in ("share", "right"))]
    lines: list[list[str]] = [[csv_cell(one) for one in head]]
    for one in rounds:
        shares = [
            percent(value, "") for pair in zip(*_by_class(one), strict=True) for value in pair
        ]
        cells = shares or [""] * (2 * len(names))
        lines.append([*_cells(one, missing=""), *cells])
    markdown = markdown_table([HEAD, *map(_cells, rounds)], numbers=True)
    markdown += "".join(f"\n{note}.\n" for note in NOTES)
    if names:
        markdown += f"\n{markdown_table(_class_lines(rounds), numbers=True)}\n{CLASS_NOTE}.\n"
    contents = {"rounds.csv": csv_lines(lines), "rounds.md": markdown}
    for name, content in contents.items():
        write_atomically(folder / name, content)
    return list(contents)


def tables(rounds: Sequence[Round]) -> list[Table]:
    """The tables for the terminal, in percent."""
    found = [terminal_table(HEAD, map(_cells, rounds), notes=NOTES)]
    if _classes(rounds):
        head, *lines = _class_lines(rounds)
        found.append(terminal_table(head, lines, notes=[CLASS_NOTE]))
    return found


def _cells(one: Round, missing: str = "\N{EN DASH}") -> list[str]:
    averaged = next((found for name, found in one.scores.items() if name != "student"), None)
    student = one.scores.get("student")
    cells = [
        str(one.number),
        *(percent(None if found is None else found.miou, missing) for found in (student, averaged)),
    ]
    if one.pseudo is None:
        return cells + [missing] * 4
    labeled = sum(one.pseudo["counted"]) / sum(one.pseudo["predicted"])
    values = (labeled, one.pseudo["accuracy"], one.pseudo["accuracy_of_all"])
    return [*cells, one.pseudo["network"], *(percent(value, missing) for value in values)]


def _classes(rounds: Sequence[Round]) -> list[str]:
    return next((list(one.pseudo["classes"]) for one in rounds if one.pseudo is not None), [])


def _by_class(one: Round) -> tuple[list[float], list[float | None]]:
    """Share of each class among the pseudo-labeled pixels, and of those the right ones."""
    if one.pseudo is None:
        return [], []
    counted = one.pseudo["counted"]
    return [count / sum(counted) for count in counted], list(one.pseudo["precision"])


def _class_lines(rounds: Sequence[Round]) -> list[list[str]]:
    later = [one for one in rounds if one.pseudo is not None]
    lines = [["class"]]
    lines[0] += [f"{what}{one.number}" for one in later for what in ("round ", "right ")]
    for index, name in enumerate(_classes(rounds)):
        line = [name]
        for one in later:
            shares, right = _by_class(one)
            line += [percent(shares[index]), percent(right[index])]
        lines.append(line)
    return lines
