from __future__ import annotations

import numpy as np
import pytest
from PIL import ImageFont

from mixseg.data.contract import ClassSet
from mixseg.evaluation.pictures import (
    INK,
    MIN_LEGEND_WIDTH,
    Column,
    Row,
    comparison,
    distinct_titles,
    fitted,
    legend,
    overlay,
    reduced,
    with_legend,
)

CLASSES = ClassSet(
    names=("road", "sky\x1b[31m\n", "x" * 5000),
    palette=((128, 64, 128), (70, 130, 180), (107, 142, 35)),
)
WILD = ClassSet(("x" * 500,), ((1, 200, 3),))


def has_color(picture: np.ndarray, color: tuple[int, int, int]) -> bool:
    return bool((picture == color).all(axis=-1).any())


def test_overlay_blends_classes_and_spares_the_rest() -> None:
    image = np.full((1, 3, 3), 100, dtype=np.uint8)
    labels = np.array([[0, 255, 200]], dtype=np.uint8)
    blended = [[[114, 82, 114], [100, 100, 100], [100, 100, 100]]]
    assert overlay(image, labels, CLASSES, 0.5).tolist() == blended
    assert overlay(image, labels, CLASSES, 0.0).tolist() == image.tolist()
    assert overlay(image, labels, CLASSES, 1.0)[0, 0].tolist() == [128, 64, 128]
    with pytest.raises(ValueError, match="differ in size"):
        overlay(image, np.zeros((2, 3), dtype=np.uint8), CLASSES)
    with pytest.raises(ValueError, match="alpha"):
        overlay(image, labels, CLASSES, alpha=2)


def test_a_legend_has_the_classes_present_and_letters_that_grow_with_it() -> None:
    for width in (20, 240, 12000):
        picture = legend(CLASSES, [1, 255, 1], width)
        assert picture.shape[1:] == (width, 3)
        assert has_color(picture, CLASSES.palette[1])
        assert not has_color(picture, CLASSES.palette[0])

    def ink(width: int) -> int:
        picture = legend(CLASSES, [0], width)
        return int((picture[:, picture.shape[0] :].min(axis=-1) <= max(INK) + 60).sum())

    assert 0 < ink(500) < ink(2000) < ink(8000)
    # Many classes are wrapped, and long names are cut.
    many = ClassSet(
        tuple(f"a rather long name {index}" for index in range(200)),
        tuple((index, 255 - index, 7) for index in range(200)),
    )
    picture = legend(many, range(200), 300)
    assert set(many.palette) <= set(map(tuple, picture.reshape(-1, 3).tolist()))
    assert (legend(CLASSES, [2], 300)[:, -4:] == 255).all()


def test_the_picture_stays_above_its_legend() -> None:
    for height, width in ((1, 1), (5, 3000), (256, 512)):
        picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        labels = np.zeros((height, width), dtype=np.uint8)
        result = with_legend(picture, labels, CLASSES)
        total = max(width, MIN_LEGEND_WIDTH)
        left = (total - width) // 2
        assert result.shape[1] == total
        assert np.array_equal(result[:height, left : left + width], picture)
        assert has_color(result[height:], CLASSES.palette[0])
        assert len(with_legend(picture, labels + 255, CLASSES)) == height


def row(name: str, height: int, width: int, networks: int = 2) -> Row:
    image = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Row(name, image, (np.zeros((height, width), dtype=np.uint8),) * networks)


def count(picture: np.ndarray, part: np.ndarray) -> int:
    """How often a part stands in a picture."""
    windows = np.lib.stride_tricks.sliding_window_view(picture, part.shape)
    return int((windows == part).all(axis=(-1, -2, -3)).sum())


def test_each_network_has_a_column_and_each_photograph_a_row() -> None:
    columns = [Column("one", CLASSES), Column("two\x1b]0;" + "y" * 900, WILD)]
    rows = [row("a", 12, 40), row("\u202eb" * 300, 30, 9), row("c", 1, 1)]
    picture = comparison(columns, rows)
    for one in rows[:2]:
        assert count(picture, one.image) == 1
        for labels, column in zip(one.predictions, columns, strict=True):
            assert count(picture, overlay(one.image, labels, column.classes)) == 1
    # Long names are cut: they do not widen the columns.
    short = [Column("one", CLASSES), Column("two", WILD)]
    assert comparison(short, rows).shape == picture.shape
    # Photographs are reduced in proportion.
    for size, expected in (((100, 400), (16, 64)), ((1, 999), (1, 64)), ((10, 64), (10, 64))):
        small = reduced(row("a", *size), 64)
        assert {labels.shape for labels in small.predictions} == {expected}
        assert small.image.shape == (*expected, 3)


def test_sets_of_classes_are_explained_once() -> None:
    def pictured(*classes: ClassSet) -> np.ndarray:
        return comparison([Column("", one) for one in classes], [row("a", 20, 200, networks=3)])

    other_ids = ClassSet(CLASSES.names, CLASSES.palette, (7, 23, 24))
    same = pictured(CLASSES, CLASSES, CLASSES)
    np.testing.assert_array_equal(same, pictured(CLASSES, other_ids, CLASSES))
    mixed = pictured(CLASSES, WILD, CLASSES)
    assert has_color(mixed, CLASSES.palette[0]) and has_color(mixed, WILD.palette[0])
    assert not has_color(mixed, CLASSES.palette[1])  # only classes that occur


def test_titles_and_names_that_are_cut_still_differ() -> None:
    assert distinct_titles([("a", 4), ("b", 4)]) == ["a", "b"]
    assert distinct_titles([("a", 4), ("b", 4), ("a", 8)]) == ["a, step 4", "b", "a, step 8"]
    assert len({*distinct_titles([("a", 4), ("a", 4), ("a", 4)])}) == 3
    font = ImageFont.load_default(16)
    names = [f"supervised-demo-1of8-seed{seed}-20261121-15143{seed}" for seed in range(2)]
    first, second = (fitted(name, font, 150) for name in names)
    assert first != second and first.startswith("super") and first.endswith("0")
    assert max(font.getlength(name) for name in (first, second)) <= 150
    assert fitted("road", font, 150) == "road"
