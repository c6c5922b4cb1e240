"""Images without labels: which files are taken, and that they come upright."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixseg.data.images import orientation_in_header, photograph_size, read_photograph
from mixseg.data.layout import layout_of, open_dataset
from mixseg.data.unlabeled import open_photographs, open_unlabeled, without_known
from mixseg.data.voc import VOC
from mixseg.errors import DataError
from tests.data.layouts import (
    cycle_ids,
    write_cityscapes,
    write_image,
    write_label,
    write_turned,
    write_voc,
)


class TestOpening:
    def test_names_that_differ_in_their_ending_alone(self, tmp_path: Path) -> None:
        names = ["a.jpg", "a.png", "b.png", "d/a.JPEG", "d/a.jpg", "a.jpg.png"]
        for name in (*names, ".hidden/a.png", ".b.png"):
            write_image(tmp_path / name)
        (tmp_path / "notes.txt").write_text("c.png")
        (tmp_path / "d/photo.heic").touch()
        opened = open_unlabeled(tmp_path, VOC)
        expected = {"a.jpg", "a.png", "b", "d/a.JPEG", "d/a.jpg", "a.jpg.png"}
        assert {one.id for one in opened.samples} == expected
        assert {one.image.relative_to(tmp_path).as_posix() for one in opened.samples} == {*names}
        assert "passed over 1 .heic" in opened.passed_over
        (tmp_path / "list.txt").write_text("\n".join(names))
        listed = open_unlabeled(tmp_path / "list.txt", VOC)
        assert listed.samples == opened.samples and not listed.passed_over

    def test_empty_and_missing(self, tmp_path: Path) -> None:
        (tmp_path / "movie.mp4").touch()
        with pytest.raises(DataError, match=r"no unlabeled images.*movie\.mp4"):
            open_unlabeled(tmp_path, VOC)
        with pytest.raises(DataError, match=r"nowhere is not a folder"):
            open_unlabeled(tmp_path / "nowhere", VOC)
        (tmp_path / "list.txt").write_text("\n\n")
        with pytest.raises(DataError, match=r"list\.txt names no image"):
            open_unlabeled(tmp_path / "list.txt", VOC)

        write_image(tmp_path / "a.png")
        for entry in ("../a.png", "b.png", "list.txt", "a.png"):
            (tmp_path / "list.txt").write_text(f"a.png\n{entry}\n")
            with pytest.raises(DataError, match=rf"list\.txt, line 2: .*{entry}"):
                open_unlabeled(tmp_path / "list.txt", VOC)


class TestKnownFiles:
    def test_what_lies_beside_labels_is_a_label(self, tmp_path: Path) -> None:
        write_cityscapes(tmp_path, "train")
        write_cityscapes(tmp_path, "val", {"lindau": 2})
        write_image(tmp_path / "gtFine/train/aachen/aachen_000000_000019_gtFine_color.png")
        write_image(tmp_path / "gtFine/train/aachen/photograph.jpg")
        write_image(tmp_path / "leftImg8bit/train_extra/bonn/a.png")
        train, val = (open_dataset("cityscapes", tmp_path, split) for split in ("train", "val"))
        # Labels of the validation split are known by the folder of the data.
        folders = [(name, layout_of(name), tmp_path) for name in ("cityscapes", "gta5")]
        kept, (note,) = open_photographs(tmp_path, (train,), (val,), folders)
        assert "8 label files and 2 validation images" in note
        names = {sample.id for sample in kept.samples} - {
            f"leftImg8bit/train/{sample.id}" for sample in train.samples
        }
        assert names == {"gtFine/train/aachen/photograph", "leftImg8bit/train_extra/bonn/a"}
        with pytest.raises(DataError, match=r"no unlabeled images in .*: 8 label files"):
            (tmp_path / "gtFine/train/aachen/photograph.jpg").unlink()
            open_photographs(tmp_path / "gtFine", (train, val), (), [])

    def test_links_and_lists(self, tmp_path: Path) -> None:
        write_voc(tmp_path / "voc")
        val = open_dataset("voc", tmp_path / "voc", "val")
        label = val.samples[1].label
        photos = tmp_path / "photos"
        write_image(photos / "new.png")
        assert without_known(open_unlabeled(photos, VOC), (val,), (val,))[1] == ""
        (photos / "shown.jpg").symlink_to(val.samples[0].image)
        (photos / "label.png").symlink_to(label)
        (photos / "list.txt").write_text("new.png\nshown.jpg\nlabel.png\n")
        for source in (photos, photos / "list.txt"):
            kept, left_out = without_known(open_unlabeled(source, VOC), (val,), (val,))
            assert [sample.id for sample in kept.samples] == ["new"]
            assert left_out == "1 label files and 1 validation images"

    def test_labels_among_images_are_told_apart_one_by_one(self, tmp_path: Path) -> None:
        """A data set whose files are links to one folder of images and labels."""
        write_voc(tmp_path)
        write_image(tmp_path / "pool/other.png")
        names = [sample.id for sample in open_dataset("voc", tmp_path, "train").samples]
        for name in names:
            write_image(tmp_path / f"pool/{name}_image.jpg")
            write_label(tmp_path / f"pool/{name}_label.png", cycle_ids([0, 1]))
            for file, target in (
                (f"JPEGImages/{name}.jpg", f"{name}_image.jpg"),
                (f"SegmentationClass/{name}.png", f"{name}_label.png"),
            ):
                (tmp_path / file).unlink()
                (tmp_path / file).symlink_to(tmp_path / "pool" / target)
        voc = open_dataset("voc", tmp_path, "train")
        kept, left_out = without_known(open_unlabeled(tmp_path / "pool", VOC), (voc,), ())
        assert left_out == f"{len(names)} label files"
        assert {f"{names[0]}_image", "other"} <= {sample.id for sample in kept.samples}


SMOOTH = np.stack(
    np.broadcast_arrays(np.arange(64)[:, None] * 3, np.arange(96)[None] * 2, 100), axis=-1
).astype(np.uint8)
"""An upright picture that a JPEG keeps nearly as it is."""


class TestOrientation:
    def test_images_are_turned_upright(self, tmp_path: Path) -> None:
        for orientation in range(1, 9):
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

    def test_an_orientation_behind_the_pixels_of_a_png(self, tmp_path: Path) -> None:
        path = tmp_path / "a.png"
        write_turned(path, SMOOTH, 6)
        content = path.read_bytes()
        begin = content.index(b"eXIf") - 4
        end = begin + 12 + int.from_bytes(content[begin : begin + 4], "big")
        last = len(content) - 12
        path.write_bytes(content[:begin] + content[end:last] + content[begin:end] + content[last:])
        np.testing.assert_array_equal(read_photograph(path), SMOOTH)

    @pytest.mark.filterwarnings("ignore:Corrupt EXIF")
    def test_damaged_exif_is_no_orientation(self, tmp_path: Path) -> None:
        path = tmp_path / "photo.jpg"
        for exif in (b"Exif\x00\x00MM\x00*\xff\xff\xff\xff", b"Exif\x00\x00bad"):
            Image.new("RGB", (6, 4), (200, 10, 10)).save(path, exif=exif)
            assert read_photograph(path).shape == (4, 6, 3)
            assert photograph_size(path) == (4, 6)
