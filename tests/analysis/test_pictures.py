from __future__ import annotations

import numpy as np
import pytest

from mixseg.analysis.pictures import (
    INK,
    MIN_LEGEND_WIDTH,
    colourise,
    legend,
    overlay,
    with_legend,
)
from mixseg.data.contract import ClassSet

CLASSES = ClassSet(
    names=("road", "sky\x1b[31m\n", "x" * 5000),
    palette=((128, 64, 128), (70, 130, 180), (107, 142, 35)),
)


def has_colour(picture: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((picture == colour).all(axis=-1).any())


def test_colours_are_the_palette_and_black() -> None:
    labels = np.array([[0, 1], [2, 255]], dtype=np.uint8)
    picture = colourise(labels, CLASSES.palette)
    assert picture.dtype == np.uint8
    assert picture.tolist() == [
        [[128, 64, 128], [70, 130, 180]],
        [[107, 142, 35], [0, 0, 0]],
    ]


def test_overlay_blends_classes_and_spares_the_rest() -> None:
    image = np.full((1, 3, 3), 100, dtype=np.uint8)
    labels = np.array([[0, 255, 200]], dtype=np.uint8)
    assert overlay(image, labels, CLASSES, 0.5).tolist() == [
        [[114, 82, 114], [100, 100, 100], [100, 100, 100]]
    ]
    assert overlay(image, labels, CLASSES, 0.0).tolist() == image.tolist()
    assert overlay(image, labels, CLASSES, 1.0)[0, 0].tolist() == [128, 64, 128]


def test_overlay_refuses_what_cannot_be_laid_over() -> None:
    image = np.zeros((2, 2, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match="differ in size"):
        overlay(image, np.zeros((2, 3), dtype=np.uint8), CLASSES)
    with pytest.raises(ValueError, match="alpha"):
        overlay(image, np.zeros((2, 2), dtype=np.uint8), CLASSES, alpha=2)


@pytest.mark.parametrize("width", [20, 240, 1000, 12000])
def test_legend_shows_the_classes_present(width: int) -> None:
    picture = legend(CLASSES, [1, 255, 1], width)
    assert picture.shape[1:] == (width, 3)
    assert has_colour(picture, CLASSES.palette[1])
    assert not has_colour(picture, CLASSES.palette[0])


def test_legend_has_letters_that_grow_with_it() -> None:
    def ink(width: int) -> int:
        picture = legend(CLASSES, [0], width)
        return int((picture[:, picture.shape[0] :].min(axis=-1) <= max(INK) + 60).sum())

    assert 0 < ink(500) < ink(2000) < ink(8000)


def test_legend_wraps_many_classes_and_cuts_long_names() -> None:
    many = ClassSet(
        tuple(f"a rather long name {index}" for index in range(200)),
        tuple((index, 255 - index, 7) for index in range(200)),
    )
    picture = legend(many, range(200), 300)
    assert set(many.palette) <= set(map(tuple, picture.reshape(-1, 3).tolist()))
    assert (legend(CLASSES, [2], 300)[:, -4:] == 255).all()


def test_nothing_present_needs_no_legend() -> None:
    assert legend(CLASSES, [255], 64).shape == (0, 64, 3)
    picture = np.zeros((4, 300, 3), dtype=np.uint8)
    labels = np.full((4, 300), 255, dtype=np.uint8)
    assert np.array_equal(with_legend(picture, labels, CLASSES), picture)


@pytest.mark.parametrize("size", [(1, 1), (32, 32), (5, 3000), (3000, 5), (256, 512)])
def test_the_picture_stays_above_its_legend(size: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    result = with_legend(picture, np.zeros(size, dtype=np.uint8), CLASSES)
    height, width = size
    total = max(width, MIN_LEGEND_WIDTH)
    assert result.shape[1] == total
    left = (total - width) // 2
    assert np.array_equal(result[:height, left : left + width], picture)
    assert has_colour(result[height:], CLASSES.palette[0])
