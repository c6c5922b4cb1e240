"""What is wrong with files is found: in a few of them at a start, in all of them on demand."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from mixseg.data.check import (
    Inspector,
    check_equal_sizes,
    check_same_size,
    check_samples,
    first_size,
    ids_in_labels,
    median_side,
    unseen_classes,
    unseen_note,
    without_unequal_pairs,
)
from mixseg.data.cityscapes import CITYSCAPES
from mixseg.data.class_maps import class_map
from mixseg.data.contract import SegmentationDataset
from mixseg.data.layout import open_dataset
from mixseg.errors import DataError
from tests.data.layouts import (
    SIZE,
    cycle_ids,
    write_camvid,
    write_folder,
    write_gta5,
    write_image,
    write_label,
    write_synthia,
)


@pytest.fixture
def camvid(tmp_path: Path) -> SegmentationDataset:
    write_camvid(tmp_path, count=7)
    return open_dataset("camvid", tmp_path, "train")


def labels_of(dataset: SegmentationDataset) -> list[Path]:
    return [sample.label for sample in dataset.samples if sample.label is not None]


def test_a_spread_is_read_with_first_and_last(camvid: SegmentationDataset) -> None:
    for index in (0, 6):
        path = camvid.samples[index].image
        content = path.read_bytes()
        path.write_bytes(content[:60])
        with pytest.raises(DataError, match=path.name):
            check_samples(camvid, range(7), limit=2)
        path.write_bytes(content)
    camvid.samples[3].image.write_bytes(b"")
    check_samples(camvid, range(7), limit=2)
    check_samples(camvid, [], limit=2)
    with pytest.raises(DataError, match=camvid.samples[3].image.name):
        check_samples(camvid, range(7))
    assert len(check_samples(camvid, range(7), skip_bad=True)) == 6
    with pytest.raises(DataError, match=camvid.samples[3].image.name):
        check_samples(camvid, [3], skip_bad=True)
    write_image(camvid.samples[3].image, size=(6, 10))
    with pytest.raises(DataError, match=r"has 10x6 pixels .* 20x12"):
        check_samples(camvid, range(7))


def test_all_void(camvid: SegmentationDataset) -> None:
    for path in labels_of(camvid):
        write_label(path, np.full(SIZE, 11, dtype=np.uint8))
    with pytest.raises(DataError, match=r"all 7 labels .* ignored pixels: .* ids \[11\]"):
        check_samples(camvid, range(7))
    write_label(labels_of(camvid)[1], np.zeros(SIZE, dtype=np.uint8))
    check_samples(camvid, range(7))


def test_classes_without_a_pixel(tmp_path: Path) -> None:
    """The masks that people have: black and white, two names, and nothing else said."""
    for key in write_folder(tmp_path, description="names: [rest, vessel]\n"):
        write_label(tmp_path / f"labels/train/{key}.png", cycle_ids([0, 255]))
    dataset = open_dataset("folder", tmp_path, "train")
    note = unseen_note(dataset, *ids_in_labels(dataset, range(4)), 4)
    assert "'train': none of the 4 labels has a pixel of: vessel" in note
    # What it says can be copied.
    advice = re.search(r"(id_map: .*) and (ignore: .*)$", note)
    with (tmp_path / "dataset.yaml").open("a") as file:
        file.write("\n".join(advice.groups()))
    dataset = open_dataset("folder", tmp_path, "train")
    assert unseen_note(dataset, *ids_in_labels(dataset, range(4)), 4) == ""
    np.testing.assert_array_equal(dataset.label(0), cycle_ids([0, 1]))


def test_few_labels_are_looked_at_and_none_twice(camvid: SegmentationDataset) -> None:
    assert ids_in_labels(camvid, range(7))[1] == 1  # all classes are in the first
    for path in labels_of(camvid):
        write_label(path, cycle_ids([0, 3, 11]))
    known = check_samples(camvid, range(7))
    ids, read = ids_in_labels(camvid, range(7), limit=2)
    assert (ids, read) == ({0, 3, 11}, 2)
    assert "none of the 2 labels looked at (of 7)" in unseen_note(camvid, ids, read, 7)
    # A label that cannot be read is said where it is used; none read, nothing known.
    for path in labels_of(camvid):
        path.write_bytes(b"")
    assert unseen_note(camvid, *ids_in_labels(camvid, range(7)), 7) == ""
    assert ids_in_labels(camvid, range(7), known=known) == ({0, 3, 11}, 7)


def test_classes_that_no_id_means_are_not_missed(tmp_path: Path) -> None:
    write_synthia(tmp_path)
    synthia = open_dataset("synthia", tmp_path, "train")
    present = [i for i in range(23) if synthia.lookup[i] in (0, 1, 2)]
    unseen = unseen_classes(synthia, present)
    assert "road" not in unseen and "wall" in unseen
    assert not {"terrain", "truck", "train"} & {*unseen}  # SYNTHIA has none of them
    write_camvid(tmp_path / "camvid")
    camvid = open_dataset("camvid", tmp_path / "camvid", "train")
    mapped = class_map(camvid.classes, CITYSCAPES).apply(camvid)
    assert unseen_classes(mapped, range(11)) == []  # though 9 classes never occur


def test_unequal_pairs_are_left_out(tmp_path: Path) -> None:
    ids = write_gta5(tmp_path)
    write_label(tmp_path / f"labels/{ids[2]}.png", cycle_ids([7], size=(6, 10)))
    (tmp_path / f"labels/{ids[3]}.png").write_bytes(b"")
    dataset = open_dataset("gta5", tmp_path, "train")
    with pytest.raises(DataError, match=ids[3]):
        without_unequal_pairs(dataset)
    kept, left_out = without_unequal_pairs(dataset, skip_bad=True)
    assert [sample.id for sample in kept.samples] == [ids[0], ids[1], ids[3]]
    assert left_out == (f"{ids[2]}: 20x12 and 10x6 pixels",)
    for name in ids:
        write_label(tmp_path / f"labels/{name}.png", cycle_ids([7], size=(6, 10)))
    with pytest.raises(DataError, match="in every pair"):
        without_unequal_pairs(open_dataset("gta5", tmp_path, "train"))


def test_sizes_that_cannot_share_a_batch(camvid: SegmentationDataset, tmp_path: Path) -> None:
    check_equal_sizes(camvid, range(7))
    check_same_size(camvid, None, camvid, SIZE)
    with pytest.raises(DataError, match=r"data\.crop"):
        check_same_size(camvid, None, camvid, (6, 10))
    write_image(camvid.samples[2].image, size=(6, 10))
    with pytest.raises(DataError, match=rf"12x20 .*6x10 \({camvid.samples[2].id}\)"):
        check_equal_sizes(camvid, range(7))
    assert median_side(camvid, range(7)) == 12
    camvid.samples[0].image.write_bytes(b"")
    with pytest.raises(DataError, match=camvid.samples[0].image.name):
        check_equal_sizes(camvid, [0, 1])
    check_equal_sizes(camvid, [0, 1], skip_bad=True)
    assert first_size(camvid, range(7)) == SIZE
    with pytest.raises(DataError, match=camvid.samples[0].image.name):
        first_size(camvid, [0])
    assert median_side(camvid, [0]) is None


def test_every_problem_is_found_once(camvid: SegmentationDataset) -> None:
    images, labels = [one.image for one in camvid.samples], labels_of(camvid)
    images[0].write_bytes(b"")
    labels[0].write_bytes(b"GIF89a")  # two problems of one sample
    images[1].unlink()
    images[1].symlink_to("nowhere.png")
    write_label(labels[2], np.full(SIZE, 200, dtype=np.uint8))
    write_label(labels[3], np.full(SIZE, 11, dtype=np.uint8))
    write_label(labels[4], np.zeros((SIZE[0], SIZE[1] + 1), dtype=np.uint8))
    inspector = Inspector(2)
    report = inspector.read("training", "data", lambda: camvid, labeled=True)
    assert (report.images, report.labels, report.repeated) == (7, 7, 0)
    assert [(one.kind, one.path) for one in report.problems] == [
        ("undecodable", str(images[0])),
        ("undecodable", str(labels[0])),
        ("unreadable", str(images[1])),
        ("unknown ids", str(labels[2])),
        ("all void", str(labels[3])),
        ("size mismatch", str(labels[4])),
    ]
    again = inspector.read("validation", "data", lambda: camvid, labeled=True)
    assert (again.problems, again.repeated) == ((), 7)

    def refused() -> SegmentationDataset:
        raise DataError("not there")

    reports = [inspector.read("more", "data.val", refused, labeled=True) for _ in range(2)]
    assert [[one.kind for one in report.problems] for report in reports] == [["not opened"], []]
