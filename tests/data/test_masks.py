"""Label files whose palettes hold the colors of classes in any order."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from mixseg.data.check import inspect_sample
from mixseg.data.contract import SegmentationDataset
from mixseg.data.images import LabelArray
from mixseg.data.layout import open_dataset
from mixseg.errors import DataError
from mixseg.ignore import IGNORE
from tests.data.layouts import EXAMPLES, write_folder, write_label

Color = tuple[int, int, int]

BLACK: Final = (0, 0, 0)
CLASSES = [(0, 0, 0), (200, 0, 0), (0, 200, 0), (0, 0, 200)]
NAMES = "names: [rest, leaf, stem, fruit]\n"
FOLDER = NAMES + f"palette: {[list(color) for color in CLASSES]}\n"


def _folder(root: Path, more: str = "") -> SegmentationDataset:
    write_folder(root, count=1, description=FOLDER + more)
    return open_dataset("folder", root, "train")


VOC_VOID = (224, 224, 192)
FOLDERS = {
    "folder": "",
    "folder with ids": "id_map: {4: 0, 1: 1, 2: 3, 9: 2}\n",
    "folder with void": "ignore: [[7, 7, 7], 255]\n",
}
VOID: dict[str, Color | None] = {
    **{name: BLACK for name in EXAMPLES if name != "voc sbd"},
    "folder": None,
    "folder with ids": None,
    "folder with void": (7, 7, 7),
    "voc": VOC_VOID,
    "voc augmented": VOC_VOID,
}
"""Data set -> the color of no class."""


class Opened(dict[str, SegmentationDataset]):
    """By name; hypothesis prints it."""

    def __repr__(self) -> str:
        return ", ".join(self)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    found = Opened()
    for name in VOID:
        root = tmp_path_factory.mktemp(name.replace(" ", "-"))
        found[name] = (
            _folder(root, FOLDERS[name]) if name in FOLDERS else EXAMPLES[name].opened(root)
        )
    return found


SHARED = {18: (153, 153, 153), 34: (0, 0, 142), 22: (102, 102, 156), 255: (0, 0, 142)}
"""Ids of no class that published palettes show in the color of a class: polegroup, license plate,
and SYNTHIA's lane marking."""


def _save(dataset: SegmentationDataset, indices: LabelArray, palette: list[Color]) -> Path:
    """Write a palette file in the place of the first label."""
    path = dataset.samples[0].label
    write_label(path, indices, palette)
    return path


def _by_color(path: Path, meanings: Mapping[Color, int]) -> LabelArray:
    """Train ids as anybody sees them who looks at the picture."""
    with Image.open(path) as image:
        seen = np.array(image.convert("RGB"))
    return np.array([[meanings[tuple(pixel)] for pixel in row] for row in seen.tolist()], np.uint8)


def _meanings(name: str, dataset: SegmentationDataset) -> dict[Color, int]:
    meanings = {color: train for train, color in enumerate(dataset.classes.palette)}
    void = VOID[name]
    return meanings if void is None else meanings | {void: IGNORE}


def _mosaic(used: list[int]) -> LabelArray:
    return np.array([used], dtype=np.uint8)


@pytest.mark.parametrize("name", VOID)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_class_colors_decide_in_any_order(opened: Opened, name: str, data: st.DataObject) -> None:
    dataset = opened[name]
    meanings = _meanings(name, dataset)
    order = data.draw(st.permutations(list(meanings)))
    used = data.draw(st.sets(st.integers(0, len(order) - 1), min_size=1))
    if all(meanings[order[index]] == IGNORE for index in used):
        used = {next(i for i, color in enumerate(order) if meanings[color] != IGNORE)}
    assume(not any(index in used and order[index] == SHARED.get(index) for index in SHARED))
    full = data.draw(st.booleans())
    palette = [*order, *([BLACK] * (256 - len(order)) if full else [])]
    path = _save(dataset, _mosaic(sorted(used)), palette)
    np.testing.assert_array_equal(dataset.label(0), _by_color(path, meanings))


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_indices_may_be_anywhere_and_unused_entries_do_not_matter(
    opened: Opened, data: st.DataObject
) -> None:
    for name, dataset in opened.items():
        meanings = _meanings(name, dataset)
        color = st.sampled_from(list(meanings))
        palette = data.draw(st.lists(st.tuples(*[st.integers(0, 255)] * 3), max_size=8))
        palette = [(5 * i % 256, i, 255 - i) for i in range(256 - len(palette))] + palette
        shown = data.draw(st.lists(color, min_size=1, max_size=12, unique=True))
        if all(meanings[one] == IGNORE for one in shown):
            continue
        places = data.draw(
            st.lists(st.integers(0, 254), unique=True, min_size=len(shown), max_size=len(shown))
        )
        for place, one in zip(places, shown, strict=True):
            assume(SHARED.get(place) != one)
            palette[place] = one
        path = _save(dataset, _mosaic(places), palette)
        np.testing.assert_array_equal(dataset.label(0), _by_color(path, meanings), name)


@pytest.mark.parametrize("name", VOID)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_unrelated_colors_leave_the_indices(opened: Opened, name: str, data: st.DataObject) -> None:
    dataset = opened[name]
    known = np.flatnonzero(dataset.lookup >= 0).tolist()
    used = data.draw(st.lists(st.sampled_from(known), min_size=1, unique=True))
    ramp = [(i, i, i) for i in range(256)]
    steps = [(17 * i, 17 * i, 17 * i) for i in range(16)]
    palette = data.draw(
        st.sampled_from([ramp, [*steps, *[BLACK] * 240], [(i, 3, 255 - i) for i in range(256)]])
    )
    _save(dataset, _mosaic(used), palette)
    expected = dataset.lookup[_mosaic(used)]
    if name == "cityscapes archives":
        expected = np.where(_mosaic(used) < 19, _mosaic(used), IGNORE)
        if ((_mosaic(used) >= 19) & (_mosaic(used) != IGNORE)).any():
            with pytest.raises(DataError):
                dataset.label(0)
            return
    np.testing.assert_array_equal(dataset.label(0), expected)


@pytest.mark.parametrize("name", VOID)
def test_palettes_of_the_published_files(opened: Opened, name: str) -> None:
    """Classes at their own ids, one color for everything else: ids decide, 255 is no class."""
    dataset = opened[name]
    ids = dataset.classes.label_ids or range(len(dataset.classes))
    if name == "cityscapes archives":
        ids = range(19)
    elif name == "synthia":
        ids = (3, 4, 2, 21, 5, 7, 15, 9, 6, 16, 1, 10, 17, 8, 18, 19, 20, 12, 11)
    for rest in (BLACK, (224, 224, 192), (255, 255, 255)):
        palette = [rest] * 256
        for raw, color in zip(ids, dataset.classes.palette, strict=True):
            palette[raw] = color
        for used in ([*ids, IGNORE], [*ids[1:], IGNORE], [IGNORE], [ids[0]]):
            _save(dataset, _mosaic(used), palette)
            trains = {raw: train for train, raw in enumerate(ids)} | {IGNORE: IGNORE}
            expected = np.vectorize(trains.get)(_mosaic(used))
            np.testing.assert_array_equal(dataset.label(0), expected, str((rest, used[:2])))


def test_ids_of_no_class_in_the_color_of_one(opened: Opened) -> None:
    """Pole and polegroup, car and license plate look the same in GTA5."""
    dataset = opened["gta5"]
    palette = [BLACK] * 256
    for raw, color in zip(dataset.classes.label_ids, dataset.classes.palette, strict=True):
        palette[raw] = color
    palette[18], palette[34] = palette[17], palette[26]
    _save(dataset, _mosaic([17, 18, 26, 34, 0]), palette)
    np.testing.assert_array_equal(dataset.label(0), [[5, IGNORE, 13, IGNORE, IGNORE]])


@pytest.mark.parametrize("entries", [16, 256])
def test_an_ignored_id_in_the_color_that_fills_a_palette(entries: int, tmp_path: Path) -> None:
    dataset = _folder(tmp_path, "ignore: [10, 255]\n")
    _save(dataset, _mosaic([0, 1, 10]), [*CLASSES, *[BLACK] * (entries - len(CLASSES))])
    np.testing.assert_array_equal(dataset.label(0), [[0, 1, IGNORE]])


@pytest.mark.parametrize(
    ("palette", "used"),
    [
        # Another color beside those of classes in another order.
        ([*reversed(CLASSES), (9, 9, 9)], [0, 1, 4]),
        # 255 is ignored, and has the color of a class because the palette is filled up with it.
        ([*CLASSES[1:], *[BLACK] * 253], [0, 1, 2, 255]),
        # An index that the palette does not have.
        (CLASSES[::-1], [0, 200]),
    ],
)
def test_neither_reading_is_sure(tmp_path: Path, palette: list[Color], used: list[int]) -> None:
    dataset = _folder(tmp_path, "id_map: {0: 0, 1: 1, 2: 2, 3: 3, 200: 0}\n" * (200 in used))
    # Pillow stores an index in as few bits as the palette needs.
    path = _save(dataset, _mosaic(used), [*palette, *[BLACK] * (256 - len(palette))])
    path.write_bytes(_cut_palette(path.read_bytes(), len(palette)))
    with pytest.raises(DataError) as raised:
        dataset.label(0)
    named = str(raised.value)
    first = dataset.classes.names[int(dataset.lookup[0])]
    second = dataset.classes.names[CLASSES.index(palette[0])]
    assert all(word in named for word in (str(path), repr(first), repr(second), str(palette[0][0])))
    assert [one.kind for one in inspect_sample(dataset, 0, labeled=True).problems] == [
        "undecodable"
    ]


def _cut_palette(png: bytes, entries: int) -> bytes:
    start = png.index(b"PLTE") - 4
    (length,) = struct.unpack(">I", png[start : start + 4])
    body = b"PLTE" + png[start + 8 : start + 8 + 3 * entries]
    chunk = struct.pack(">I", 3 * entries) + body + struct.pack(">I", zlib.crc32(body))
    return png[:start] + chunk + png[start + 12 + length :]
