"""What files hold, against plain counts of the files themselves."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from PIL import Image

from mixseg.data.contract import SegmentationDataset
from mixseg.data.layout import open_dataset
from mixseg.data.masks import LabelReader
from mixseg.data.statistics import GRID, image_statistics, label_statistics
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


def stored(dataset: SegmentationDataset) -> np.ndarray:
    paths = [sample.label for sample in dataset.samples]
    assert None not in paths
    return np.stack([np.array(Image.open(path)) for path in paths if path is not None])


def test_counts_are_those_of_the_files(camvid: SegmentationDataset, tmp_path: Path) -> None:
    ids = stored(camvid)
    found = label_statistics(camvid, range(4), tmp_path / "cache")
    assert found.labels == 4
    assert found.pixels.tolist() == [int((ids == one).sum()) for one in range(11)]
    assert found.images.tolist() == [int((ids == one).any(axis=(1, 2)).sum()) for one in range(11)]
    assert found.void == (ids == VOID).sum() == 4 * SIZE[1]
    np.testing.assert_allclose(found.shares, found.pixels / (ids.size - found.void))
    assert not found.problems
    some = label_statistics(camvid, [1, 3], tmp_path / "cache")
    assert some.pixels.tolist() == [int((ids[[1, 3]] == one).sum()) for one in range(11)]


@pytest.mark.parametrize("size", [(64, 128), (96, 64), (12, 20), (33, 65), (1, 1)])
def test_places_of_classes(size: tuple[int, int], tmp_path: Path) -> None:
    write_camvid(tmp_path, count=2)
    first, second = sorted((tmp_path / "trainannot").iterdir())
    ids = np.zeros(size, dtype=np.uint8)
    ids[: size[0] // 2] = 3
    write_label(first, ids)
    write_label(second, np.full(size, 5, dtype=np.uint8))
    dataset = open_dataset("camvid", tmp_path, "train")
    occupancy = label_statistics(dataset, range(2), tmp_path / "cache").occupancy
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
    with pytest.raises(AssertionError, match="is read again"):
        label_statistics(unread, range(2), cache)
    lookup = camvid.lookup.copy()
    lookup[[0, 1]] = lookup[[1, 0]]
    with pytest.raises(AssertionError, match="is read again"):
        other = dataclasses.replace(refuse, colors=())
        label_statistics(dataclasses.replace(camvid, read_raw_label=other), range(4), cache)
    swapped = label_statistics(dataclasses.replace(camvid, lookup=lookup), range(4), cache)
    assert swapped.pixels[[1, 0]].tolist() == first.pixels[[0, 1]].tolist()
    label = camvid.samples[0].label
    assert label is not None
    write_label(label, np.full(SIZE, 9, dtype=np.uint8))
    os.utime(label, (1, 1))
    assert label_statistics(camvid, range(4), cache).pixels[9] == SIZE[0] * SIZE[1]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"pixels: 3\n"])
def test_a_damaged_cache_is_counted_again(
    content: bytes, camvid: SegmentationDataset, tmp_path: Path
) -> None:
    first = label_statistics(camvid, range(4), tmp_path / "cache")
    (file,) = (tmp_path / "cache" / "statistics").iterdir()
    whole = file.read_bytes()
    for damaged in (content, whole[: len(whole) // 2], whole[:-7]):
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
    assert first.label is not None and second.label is not None
    whole = first.label.read_bytes()
    first.label.write_bytes(whole[:50])
    write_label(second.label, np.full(SIZE, 77, dtype=np.uint8))
    found = label_statistics(camvid, range(4), tmp_path / "cache")
    assert set(found.problems) == {first.id, second.id}
    assert "77" in found.problems[second.id]
    assert found.labels == 2
    times = first.label.stat()
    first.label.write_bytes(whole)
    # Even with the time that it had: what was damaged is looked at again.
    os.utime(first.label, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert set(label_statistics(camvid, range(4), tmp_path / "cache").problems) == {second.id}

    third.image.write_bytes(third.image.read_bytes()[:300])
    write_image(second.image, size=(SIZE[0], SIZE[1] + 1))
    images = image_statistics(camvid, range(4))
    assert images.sizes == {SIZE: 2}
    assert set(images.problems) == {second.id, third.id}
    assert f"{SIZE[1] + 1}x{SIZE[0]}" in images.problems[second.id]
