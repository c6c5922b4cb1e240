"""Photographs come upright, at every size that they are read at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixseg.data.photographs import orientation_in_header, photograph_size, read_photograph
from mixseg.data.prepared_copy import check_output, plan_unlabeled, prepare
from mixseg.data.unlabeled import open_unlabeled
from mixseg.data.voc import VOC
from tests.data.layouts import write_turned

SMOOTH = np.stack(
    np.broadcast_arrays(np.arange(64)[:, None] * 3, np.arange(96)[None] * 2, 100), axis=-1
).astype(np.uint8)
"""An upright picture that a JPEG keeps nearly as it is."""


@pytest.mark.parametrize("orientation", range(1, 9))
def test_unlabelled_images_are_turned_upright(tmp_path: Path, orientation: int) -> None:
    write_turned(tmp_path / "a.png", SMOOTH, orientation)
    write_turned(tmp_path / "b.jpg", SMOOTH, orientation)
    opened = open_unlabeled(tmp_path, VOC)
    assert [opened.size(index) for index in range(2)] == [(64, 96)] * 2
    assert orientation_in_header(tmp_path / "b.jpg") == orientation
    np.testing.assert_array_equal(opened.image(0), SMOOTH)
    assert np.abs(opened.image(1).astype(int) - SMOOTH).max() < 12
    # Decoded at half its size, for a target that is as high as the upright picture.
    half = opened.image(1, (16, 24))
    assert half.shape == (32, 48, 3)
    assert np.abs(half.astype(int) - SMOOTH[::2, ::2]).max() < 12


def test_an_orientation_behind_the_pixels_of_a_png(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write_turned(path, SMOOTH, 6)
    content = path.read_bytes()
    begin = content.index(b"eXIf") - 4
    end = begin + 12 + int.from_bytes(content[begin : begin + 4], "big")
    last = len(content) - 12
    path.write_bytes(content[:begin] + content[end:last] + content[begin:end] + content[last:])
    np.testing.assert_array_equal(read_photograph(path), SMOOTH)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize(
    "exif", [b"", b"Exif\x00\x00", b"Exif\x00\x00MM\x00*\xff\xff\xff\xff", b"Exif\x00\x00garbage"]
)
def test_damaged_exif_is_no_orientation(tmp_path: Path, exif: bytes) -> None:
    path = tmp_path / "photo.jpg"
    Image.new("RGB", (6, 4), (200, 10, 10)).save(path, exif=exif)
    assert read_photograph(path).shape == (4, 6, 3)
    assert photograph_size(path) == (4, 6)


def test_a_prepared_copy_holds_them_upright(tmp_path: Path) -> None:
    write_turned(tmp_path / "photos/a.png", SMOOTH, 6)
    plan = plan_unlabeled(tmp_path / "photos", size=(32, 48))
    earlier, output = check_output(plan, tmp_path / "copy"), tmp_path / "copy"
    prepare(plan, output, earlier, jobs=1, keep_bad=False, progress=lambda done, total: None)
    copy = read_photograph(output / "a.png")
    assert copy.shape == (32, 48, 3)
    assert np.abs(copy.astype(int) - SMOOTH[::2, ::2]).max() < 4
