"""Classes that belong together, from the borders in label maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixseg.data.borders import (
    TOUCHING,
    Borders,
    dump_pairs,
    named_pairs,
    random_lengths,
    read_pairs,
    related_by_borders,
)
from mixseg.data.camvid import CAMVID
from mixseg.data.contract import ClassSet
from mixseg.data.images import LabelArray
from mixseg.data.layout import open_dataset
from mixseg.errors import DataError
from mixseg.ignore import IGNORE
from tests.data.test_layouts import CAMVID_ROOT

ANYWHERE = ("bin", "person", "dog", "bench", "box", "cone")
STREET = ClassSet.of(("road", "building", "sign", "pole", "rider", "bicycle", *ANYWHERE))


@given(st.integers(0, 2**32), st.tuples(st.integers(1, 9), st.integers(1, 9)))
def test_lengths_are_those_of_a_loop_over_pixels(seed: int, shape: tuple[int, int]) -> None:
    random = np.random.default_rng(seed)
    label = random.integers(0, 4, shape).astype(np.uint8)
    label[random.random(shape) < 0.2] = IGNORE
    expected = np.zeros((4, 4), dtype=np.int64)
    for y in range(shape[0]):
        for x in range(shape[1]):
            for other in ((y, x + 1), (y + 1, x)):
                if other[0] < shape[0] and other[1] < shape[1]:
                    a, b = int(label[y, x]), int(label[other])
                    if a != b and IGNORE not in (a, b):
                        expected[a, b] += 1
                        expected[b, a] += 1
    found = Borders(4)
    found.add(label)
    np.testing.assert_array_equal(found.lengths, expected)
    np.testing.assert_array_equal(found.touching, expected > 0)


def test_random_borders_have_the_lengths_that_each_class_has() -> None:
    lengths = np.array([9.0, 4.0, 3.0, 5.0, 7.0])
    expected = random_lengths(lengths)
    np.testing.assert_allclose(expected.sum(axis=1), lengths, rtol=1e-6)
    # Apart from the diagonal it is a product: all classes are alike.
    ratio = expected[0, 2:] / expected[1, 2:]
    np.testing.assert_allclose(ratio, ratio[0])


def street(random: np.random.Generator) -> LabelArray:
    """Signs on poles, riders on bicycles, and other things where they happen to be."""
    label = np.zeros((60, 120), dtype=np.uint8)
    label[:30] = 1

    def put(what: int, top: int, left: int, height: int, width: int) -> None:
        label[top : top + height, left : left + width] = what

    for what in range(6, len(STREET)):
        for _ in range(2):
            put(what, int(random.integers(20, 45)), int(random.integers(0, 110)), 7, 5)
    for _ in range(2):
        column = int(random.integers(5, 105))
        put(4, 30, column, 8, 5)
        put(5, 38, column - 1, 6, 8)
        column = int(random.integers(5, 105))
        put(3, 10, column, 25, 2)
        put(2, 6, column - 1, 5, 4)
    return label


def test_parts_of_one_thing_are_found_and_large_regions_are_not() -> None:
    random = np.random.default_rng(0)
    borders = Borders(len(STREET))
    for number in range(40):
        if number == TOUCHING - 1:
            assert not borders.related().any(), "a few labels make no pair"
        borders.add(street(random))
    assert named_pairs(borders.related(), STREET) == [("sign", "pole"), ("rider", "bicycle")]


@pytest.mark.skipif(not CAMVID_ROOT.is_dir(), reason=f"{CAMVID_ROOT} is not there")
@pytest.mark.parametrize("limit", [30, 100])
def test_real_signs_stand_on_poles(limit: int) -> None:
    camvid = open_dataset("camvid", CAMVID_ROOT, "train")
    related = related_by_borders(camvid, range(len(camvid)), limit)
    assert named_pairs(related, CAMVID) == [("pole", "sign symbol")]


def test_pairs_are_kept_in_a_file(tmp_path: Path) -> None:
    related = np.zeros((len(STREET), len(STREET)), dtype=np.bool_)
    related[2, 3] = related[3, 2] = True
    file = tmp_path / "related.json"
    file.write_text(dump_pairs(related, STREET))
    np.testing.assert_array_equal(read_pairs(file, STREET), related)
    for wrong in ('[["sign", "car"]]', '[["sign"]]', "[3]", "{", "3"):
        file.write_text(wrong)
        with pytest.raises(DataError, match=r"related\.json"):
            read_pairs(file, STREET)
