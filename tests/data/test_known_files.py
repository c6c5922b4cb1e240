"""Unlabelled images without label files and validation images, whichever way leads to them."""

from __future__ import annotations

from pathlib import Path

from mixseg.data.known_files import KnownFiles, without_known

from mixseg.data.layout import open_dataset
from mixseg.data.unlabeled import open_unlabeled
from mixseg.data.voc import VOC
from tests.data.layouts import cycle_ids, write_cityscapes, write_image, write_label, write_voc


def test_what_lies_beside_labels_is_a_label(tmp_path: Path) -> None:
    write_cityscapes(tmp_path, "train")
    write_cityscapes(tmp_path, "val", {"lindau": 2})
    write_image(tmp_path / "gtFine/train/aachen/aachen_000000_000019_gtFine_color.png")
    write_image(tmp_path / "gtFine/train/aachen/photograph.jpg")
    write_image(tmp_path / "leftImg8bit/train_extra/bonn/a.png")
    train, val = (open_dataset("cityscapes", tmp_path, split) for split in ("train", "val"))
    photographs = open_unlabeled(tmp_path, VOC)
    kept, left_out = without_known(photographs, KnownFiles.of((train, val), (val,)))
    assert left_out == "8 label files and 2 validation images"
    names = {sample.id for sample in kept.samples} - {
        f"leftImg8bit/train/{sample.id}" for sample in train.samples
    }
    assert names == {"gtFine/train/aachen/photograph", "leftImg8bit/train_extra/bonn/a"}


def test_links_and_lists(tmp_path: Path) -> None:
    write_voc(tmp_path / "voc")
    val = open_dataset("voc", tmp_path / "voc", "val")
    shown, label = val.samples[0].image, val.samples[1].label
    assert label is not None
    photos = tmp_path / "photos"
    write_image(photos / "new.png")
    (photos / "shown.jpg").symlink_to(shown)
    (photos / "label.png").symlink_to(label)
    (photos / "list.txt").write_text("new.png\nshown.jpg\nlabel.png\n")
    for source in (photos, photos / "list.txt"):
        known = KnownFiles.of((val,), (val,))
        kept, left_out = without_known(open_unlabeled(source, VOC), known)
        assert [sample.id for sample in kept.samples] == ["new"]
        assert left_out == "1 label files and 1 validation images"


def test_labels_among_images_are_told_apart_one_by_one(tmp_path: Path) -> None:
    (name, *_) = write_voc_ids(tmp_path)
    voc = open_dataset("voc", tmp_path, "train")
    kept, left_out = without_known(
        open_unlabeled(tmp_path / "pool", VOC), KnownFiles.of((voc,), ())
    )
    assert left_out == f"{len(voc)} label files"
    assert {f"{name}_image", "other"} <= {sample.id for sample in kept.samples}


def write_voc_ids(root: Path) -> list[str]:
    """A data set whose files are links to one folder of images and labels; ids of its images."""
    write_voc(root)
    write_image(root / "pool/other.png")
    names = [sample.id for sample in open_dataset("voc", root, "train").samples]
    for name in names:
        write_image(root / f"pool/{name}_image.jpg")
        write_label(root / f"pool/{name}_label.png", cycle_ids([0, 1]))
        for folder, kind, ending in (
            ("JPEGImages", "image", "jpg"),
            ("SegmentationClass", "label", "png"),
        ):
            link = root / folder / f"{name}.{ending}"
            link.unlink()
            link.symlink_to(root / f"pool/{name}_{kind}.{ending}")
    return names


def test_nothing_to_leave_out(tmp_path: Path) -> None:
    write_voc(tmp_path / "voc")
    write_image(tmp_path / "photos/a.png")
    val = open_dataset("voc", tmp_path / "voc", "val")
    photographs = open_unlabeled(tmp_path / "photos", VOC)
    kept, left_out = without_known(photographs, KnownFiles.of((val,), (val,)))
    assert (len(kept), left_out) == (1, "")
