from __future__ import annotations

import numpy as np
import pytest
from PIL import ImageFont

from mixseg.analysis.comparison import Column, Row, comparison, reduced
from mixseg.analysis.pictures import fitted, overlay
from mixseg.data.contract import ClassSet
from mixseg.evaluation.side_by_side import distinct_titles

STREET = ClassSet(("road", "sky\x1b[31m"), ((128, 64, 128), (70, 130, 180)))
WILD = ClassSet(("x" * 500,), ((1, 200, 3),))


def row(name: str, height: int, width: int, networks: int = 2) -> Row:
    generator = np.random.default_rng(height)
    image = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
    labels = tuple(np.zeros((height, width), dtype=np.uint8) for _ in range(networks))
    return Row(name, image, labels)


def count(picture: np.ndarray, part: np.ndarray) -> int:
    """How often a part stands in a picture."""
    windows = np.lib.stride_tricks.sliding_window_view(picture, part.shape)
    return int((windows == part).all(axis=(-1, -2, -3)).sum())


def test_each_network_has_a_column_and_each_photograph_a_row() -> None:
    columns = [Column("one", STREET), Column("two\x1b]0;" + "y" * 900, WILD)]
    rows = [row("a", 12, 40), row("\u202eb" * 300, 30, 9), row("c", 1, 1)]
    picture = comparison(columns, rows)
    for one in rows[:2]:
        assert count(picture, one.image) == 1
        for labels, column in zip(one.predictions, columns, strict=True):
            assert count(picture, overlay(one.image, labels, column.classes)) == 1
    # Long names are cut: they do not widen the columns.
    short = [Column("one", STREET), Column("two", WILD)]
    assert comparison(short, rows).shape == picture.shape


def test_sets_of_classes_are_explained_once() -> None:
    rows = [row("a", 20, 200, networks=3)]
    colours = {
        name: (comparison(columns, rows) == STREET.palette[0]).all(axis=-1).sum()
        for name, columns in {
            "same": [Column(str(index), STREET) for index in range(3)],
            "other ids in files": [
                Column("a", STREET),
                Column("b", ClassSet(STREET.names, STREET.palette, (7, 23))),
                Column("c", STREET),
            ],
        }.items()
    }
    assert colours["same"] == colours["other ids in files"] > 0
    mixed = comparison([Column("a", STREET), Column("b", WILD), Column("c", STREET)], rows)
    assert (mixed == STREET.palette[0]).all(axis=-1).any()
    assert (mixed == WILD.palette[0]).all(axis=-1).any()
    # Only classes that occur.
    assert not (mixed == STREET.palette[1]).all(axis=-1).any()


@pytest.mark.parametrize(("size", "expected"), [((100, 400), (16, 64)), ((1, 999), (1, 64))])
def test_photographs_are_reduced_in_proportion(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    small = reduced(row("a", *size), 64)
    assert small.image.shape == (*expected, 3)
    assert all(labels.shape == expected for labels in small.predictions)
    same = row("a", 10, 64)
    assert reduced(same, 64) is same


def test_titles_differ() -> None:
    assert distinct_titles([("a", 4), ("b", 4)]) == ["a", "b"]
    assert distinct_titles([("a", 4), ("b", 4), ("a", 8)]) == ["a, step 4", "b", "a, step 8"]
    assert len({*distinct_titles([("a", 4), ("a", 4), ("a", 4)])}) == 3


def test_names_that_are_cut_still_differ() -> None:
    font = ImageFont.load_default(16)
    names = [f"supervised-demo-1of8-seed{seed}-20261121-15143{seed}" for seed in range(2)]
    first, second = (fitted(name, font, 150) for name in names)
    assert first != second
    assert max(font.getlength(name) for name in (first, second)) <= 150
    assert first.startswith("super")
    assert first.endswith("0")
    assert fitted("road", font, 150) == "road"
