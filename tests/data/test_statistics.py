"""What files hold, against plain counts of the files themselves."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from PIL import Image

from mixseg.data.camvid import CAMVID
from mixseg.data.contract import SegmentationDataset
from mixseg.data.layout import open_dataset
from mixseg.data.masks import LabelReader
from mixseg.data.statistics import (
    GRID,
    class_frequencies,
    dump_frequencies,
    frequencies_of,
    image_statistics,
    label_statistics,
    read_frequencies,
)
from mixseg.errors import DataError
from tests.data.layouts import SIZE, write_camvid, write_image, write_label

VOID = 11
"""CamVid's id of no class."""


@pytest.fixture
def camvid(tmp_path: Path) -> SegmentationDataset:
    write_camvid(tmp_path / "data")
    for seed, path in enumerate(sorted((tmp_path / "data" / "trainannot").iterdir())):
        ids = np.random.default_rng(seed).integers(0, 4 + seed, SIZE).astype(np.uint8)
        ids[0] = VOID
        write_label(path, ids)
    return open_dataset("camvid", tmp_path / "data", "train")


def label_paths(dataset: SegmentationDataset) -> list[Path]:
    return [sample.label for sample in dataset.samples if sample.label is not None]


def test_counts_are_those_of_the_files(camvid: SegmentationDataset, tmp_path: Path) -> None:
    ids = np.stack([np.array(Image.open(path)) for path in label_paths(camvid)])
    found = label_statistics(camvid, range(4), tmp_path / "cache")
    assert found.labels == 4 and not found.problems
    assert found.pixels.tolist() == [int((ids == one).sum()) for one in range(11)]
    assert found.images.tolist() == [int((ids == one).any(axis=(1, 2)).sum()) for one in range(11)]
    assert found.void == (ids == VOID).sum() == 4 * SIZE[1]
    some = label_statistics(camvid, [1, 3], tmp_path / "cache")
    assert some.pixels.tolist() == [int((ids[[1, 3]] == one).sum()) for one in range(11)]
    shares = class_frequencies(camvid, range(4), cache=tmp_path)
    np.testing.assert_allclose(shares, found.pixels / (ids.size - found.void))
    # Of a large set a spread is read, first and last among it.
    ends = label_statistics(camvid, [0, 3], tmp_path)
    spread = class_frequencies(camvid, range(4), limit=2, cache=tmp_path)
    np.testing.assert_array_equal(spread, ends.shares)


def test_places_of_classes(tmp_path: Path) -> None:
    write_camvid(tmp_path, count=2)
    first, second = sorted((tmp_path / "trainannot").iterdir())
    dataset = open_dataset("camvid", tmp_path, "train")
    for size in ((64, 128), (96, 64), (33, 65), (1, 1)):
        ids = np.zeros(size, dtype=np.uint8)
        ids[: size[0] // 2] = 3
        write_label(first, ids)
        write_label(second, np.full(size, 5, dtype=np.uint8))
        occupancy = label_statistics(dataset, range(2), tmp_path / f"cache {size}").occupancy
        # Each pixel has a class here, so the classes share every cell among them.
        np.testing.assert_allclose(occupancy.sum(axis=0), 1)
        np.testing.assert_allclose(occupancy[5], 0.5)
        middle = GRID[0] // 2
        if size[0] > 1:
            np.testing.assert_allclose(occupancy[3, : middle - 3], 0.5)
        np.testing.assert_allclose(occupancy[3, middle + 1 :], 0)
        # A cell is a mean, so cells of one size keep the share that the whole label has.
        if not size[0] % GRID[0] and not size[1] % GRID[1]:
            np.testing.assert_allclose(occupancy[3].mean(), (ids == 3).mean() / 2)


def test_labels_are_read_once(camvid: SegmentationDataset, tmp_path: Path) -> None:
    class Refusing(LabelReader):  # type: ignore[misc]
        """What labels mean stays the same."""

        def __call__(self, path: Path) -> NoReturn:
            raise AssertionError(f"{path} is read again")

    cache = tmp_path / "cache"
    first = label_statistics(camvid, range(4), cache)
    reader = camvid.read_raw_label
    assert isinstance(reader, LabelReader)
    refuse = Refusing(reader.classes, reader.lookup, reader.colors, reader.source)
    unread = dataclasses.replace(camvid, read_raw_label=refuse)
    again = label_statistics(unread, range(4), cache)
    for field in ("labels", "pixels", "images", "void", "occupancy"):
        np.testing.assert_array_equal(getattr(again, field), getattr(first, field))
    # Another choice, other meanings of the ids, and a changed label are counted.
    other = dataclasses.replace(camvid, read_raw_label=dataclasses.replace(refuse, colors=()))
    for dataset, count in ((unread, 2), (other, 4)):
        with pytest.raises(AssertionError, match="is read again"):
            label_statistics(dataset, range(count), cache)
    lookup = camvid.lookup.copy()
    lookup[[0, 1]] = lookup[[1, 0]]
    swapped = label_statistics(dataclasses.replace(camvid, lookup=lookup), range(4), cache)
    assert swapped.pixels[[1, 0]].tolist() == first.pixels[[0, 1]].tolist()
    label = label_paths(camvid)[0]
    write_label(label, np.full(SIZE, 9, dtype=np.uint8))
    os.utime(label, (1, 1))
    assert label_statistics(camvid, range(4), cache).pixels[9] == SIZE[0] * SIZE[1]


def test_a_damaged_cache_is_counted_again(camvid: SegmentationDataset, tmp_path: Path) -> None:
    first = label_statistics(camvid, range(4), tmp_path / "cache")
    (file,) = (tmp_path / "cache" / "statistics").iterdir()
    whole = file.read_bytes()
    for damaged in (b"", b"PK\x03\x04 no archive", b"a: 3\n", whole[: len(whole) // 2], whole[:-7]):
        file.write_bytes(damaged)
        again = label_statistics(camvid, range(4), tmp_path / "cache")
        assert again.pixels.tolist() == first.pixels.tolist()
        assert file.read_bytes() == whole
    # Where nothing can be remembered, it is counted all the same.
    (tmp_path / "file").write_text("")
    there = label_statistics(camvid, range(4), tmp_path / "file" / "below")
    assert there.pixels.tolist() == first.pixels.tolist()


def test_damaged_files_are_named_and_mended_ones_counted(
    camvid: SegmentationDataset, tmp_path: Path
) -> None:
    first, second, third = camvid.samples[:3]
    label, other, *_ = label_paths(camvid)
    whole = label.read_bytes()
    label.write_bytes(whole[:50])
    write_label(other, np.full(SIZE, 77, dtype=np.uint8))
    found = label_statistics(camvid, range(4), tmp_path / "cache")
    assert set(found.problems) == {first.id, second.id}
    assert "77" in found.problems[second.id]
    assert found.labels == 2
    with pytest.raises(DataError, match=label.name):
        class_frequencies(camvid, range(4), cache=tmp_path)
    assert class_frequencies(camvid, range(4), cache=tmp_path, skip_bad=True).sum() == 1
    times = label.stat()
    label.write_bytes(whole)
    # Even with the time that it had: what was damaged is looked at again.
    os.utime(label, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert set(label_statistics(camvid, range(4), tmp_path / "cache").problems) == {second.id}

    third.image.write_bytes(third.image.read_bytes()[:300])
    write_image(second.image, size=(SIZE[0], SIZE[1] + 1))
    images = image_statistics(camvid, range(4))
    assert images.sizes == {SIZE: 2}
    assert set(images.problems) == {second.id, third.id}
    assert f"{SIZE[1] + 1}x{SIZE[0]}" in images.problems[second.id]


def test_without_a_labeled_pixel_there_are_no_shares(
    camvid: SegmentationDataset, tmp_path: Path
) -> None:
    for path in label_paths(camvid):
        write_label(path, np.full(SIZE, VOID, dtype=np.uint8))
    with pytest.raises(DataError, match="no labeled pixel"):
        class_frequencies(camvid, range(4), cache=tmp_path)
    samples = tuple(dataclasses.replace(one, label=None) for one in camvid.samples)
    with pytest.raises(DataError, match="has no label file"):
        class_frequencies(dataclasses.replace(camvid, samples=samples), range(4), cache=tmp_path)


def test_shares_in_files_are_normalized(tmp_path: Path) -> None:
    path = tmp_path / "shares.yaml"
    path.write_text("".join(f"{name}: {number}\n" for number, name in enumerate(CAMVID.names)))
    shares = read_frequencies(path, CAMVID)
    np.testing.assert_allclose(shares, np.arange(11) / 55)
    path.write_text(dump_frequencies(shares, CAMVID))
    np.testing.assert_array_equal(read_frequencies(path, CAMVID), shares)  # to the bit
    path.write_text("sky: 1\n")
    with pytest.raises(DataError, match="no share for building, pole"):
        read_frequencies(path, CAMVID)


def test_bad_shares(tmp_path: Path) -> None:
    path = tmp_path / "shares.yaml"
    for first, problem in (
        *(
            (f"sky: {wrong}", "line 1: ")
            for wrong in ("-1", ".nan", "1" + 300 * "0", ".inf", "yes")
        ),
        ("skye: 1", "line 1: .*'skye'.*'sky'"),
        ("sky: 0", "all shares are 0"),
    ):
        path.write_text("\n".join([first, *(f"{name}: 0" for name in CAMVID.names[1:])]))
        with pytest.raises(DataError, match=rf"shares\.yaml.*{problem}"):
            read_frequencies(path, CAMVID)
    given = dict.fromkeys(CAMVID.names, 2.0)
    np.testing.assert_allclose(frequencies_of(given, CAMVID, "here"), np.full(11, 1 / 11))
    for wrong, problem in (
        (given | {"skye": 1.0}, r"unknown class 'skye'.*'sky'"),
        (dict.fromkeys(CAMVID.names[1:], 1.0), "no share for sky"),
        (given | {"sky": -1.0}, "sky: -1"),
    ):
        with pytest.raises(DataError, match=f"here: {problem}"):
            frequencies_of(wrong, CAMVID, "here")
