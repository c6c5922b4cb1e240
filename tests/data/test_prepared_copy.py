"""A prepared copy gives a loader what the original gives it, resized, in every layout."""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mixseg.data.cityscapes import CITYSCAPES
from mixseg.data.contract import SegmentationDataset
from mixseg.data.layout import open_dataset
from mixseg.data.png16 import is_png16
from mixseg.data.prepared_copy import (
    MANIFEST,
    Outcome,
    Plan,
    Stamp,
    check_output,
    plan_splits,
    plan_unlabeled,
    prepare,
    read_manifest,
)
from mixseg.data.streams import Drawn, StreamDataset
from mixseg.data.transforms import Example, Interpolation, PairedTransform, resized, resized_ids
from mixseg.data.unlabeled import open_unlabeled
from mixseg.data.voc import VOC
from mixseg.errors import ConfigError, DataError
from tests.data.layouts import (
    SIZE,
    cycle_ids,
    write_bdd100k,
    write_camvid,
    write_cityscapes,
    write_folder,
    write_gta5,
    write_image,
    write_label,
    write_sbd,
    write_synthia,
    write_voc,
)

SMALL = (7, 11)
"""Height and width of copies; neither divides those of the originals."""


def plan(name: str, root: Path, training: str, validation: str | None = "val") -> Plan:
    return plan_splits(
        name, root, size=SMALL, training=training, validation=validation, keep_labeled=True
    )


def written(plan: Plan, output: Path, jobs: int = 1, keep_bad: bool = False) -> Outcome:
    earlier = check_output(plan, output)
    return prepare(
        plan, output, earlier, jobs=jobs, keep_bad=keep_bad, progress=lambda done, total: None
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def at_size(dataset: SegmentationDataset, index: int) -> tuple[np.ndarray, np.ndarray]:
    """A pair as the loader brings it to the small size."""
    image, label = dataset.pair(index)
    pixels = torch.from_numpy(image).permute(2, 0, 1)
    ids = torch.from_numpy(label)
    example = resized(Example(pixels, ids, torch.ones(label.shape, dtype=torch.bool)), SMALL)
    return example.image.permute(1, 2, 0).numpy(), example.label.numpy()


def assert_close(image: np.ndarray, expected: np.ndarray, path: Path) -> None:
    if path.suffix.lower() == ".png":
        np.testing.assert_array_equal(image, expected)
    else:
        # The images are noise, the hardest there is for a JPEG.
        assert np.abs(image.astype(int) - expected).mean() < 8
        assert image.shape == expected.shape


def cityscapes(root: Path) -> None:
    for split in ("train", "val"):
        write_cityscapes(root, split)
    write_cityscapes(root, "test", label_kind=None)


def cityscapes_archives(root: Path) -> None:
    for split in ("train", "val"):
        write_cityscapes(root, split, archive_folders=True, label_kind="labelTrainIds")


def camvid(root: Path) -> None:
    for split, ending in (("train", ".png"), ("val", ".jpg"), ("test", ".png")):
        ids = write_camvid(root / "CamVid", split, ending=ending)
        lines = (
            f"/SegNet/CamVid/{split}/{name}.png /SegNet/CamVid/{split}annot/{name}.png\n"
            for name in ids[1:]
        )
        (root / "CamVid" / f"{split}.txt").write_text("".join(lines))


def bdd100k(root: Path) -> None:
    for split in ("train", "val"):
        write_bdd100k(root / "bdd100k", split)
    write_bdd100k(root / "bdd100k", "test", labels=False)


def bdd100k_older(root: Path) -> None:
    for split in ("train", "val"):
        write_bdd100k(root, split, older=True)


def synthia(root: Path) -> None:
    write_synthia(root / "RAND_CITYSCAPES")


def synthia_mapped(root: Path) -> None:
    write_synthia(root, mapped=True)


def voc(root: Path) -> None:
    write_voc(root / "VOCdevkit" / "VOC2012")


def voc_augmented(root: Path) -> None:
    write_voc(root / "VOC2012", augmented=True, augmented_list="2008_000007\n2007_000032\n")


def voc_sbd(root: Path) -> None:
    voc(root)
    write_sbd(root / "benchmark_RELEASE" / "dataset" / "cls")


def folder(root: Path) -> None:
    for split in ("train", "val"):
        write_folder(root, split)
    write_folder(root, "extra", labels=False)


LAYOUTS: list[tuple[str, Callable[[Path], object], str]] = [
    ("bdd100k", bdd100k, "train"),
    ("bdd100k", bdd100k_older, "train"),
    ("camvid", camvid, "train"),
    ("cityscapes", cityscapes, "train"),
    ("cityscapes", cityscapes_archives, "train"),
    ("folder", folder, "train"),
    ("gta5", write_gta5, "train"),
    ("synthia", synthia, "train"),
    ("synthia", synthia_mapped, "train"),
    ("voc", voc, "train"),
    ("voc", voc_augmented, "train_aug"),
    ("voc", voc_sbd, "train_aug"),
]
SPLITS = ("train", "val", "test", "trainval", "train_aug", "extra")


def opened(name: str, root: Path, split: str) -> SegmentationDataset | None:
    try:
        return open_dataset(name, root, split)
    except DataError:
        return None


@pytest.mark.parametrize(("name", "write", "training"), LAYOUTS)
def test_every_layout(
    name: str, write: Callable[[Path], object], training: str, tmp_path: Path
) -> None:
    write(tmp_path / "data")
    before = contents(tmp_path / "data")
    stamps = {path: Stamp.of(path) for path in (tmp_path / "data").rglob("*")}
    validation = None if name in ("gta5", "synthia") else "val"
    outcome = written(plan(name, tmp_path / "data", training, validation), tmp_path / "copy")
    assert not outcome.problems
    assert contents(tmp_path / "data") == before
    assert {path: Stamp.of(path) for path in stamps} == stamps
    in_training = open_dataset(name, tmp_path / "data", training)
    seen = 0
    for split in SPLITS:
        original = opened(name, tmp_path / "data", split)
        copy = opened(name, tmp_path / "copy", split)
        assert (original is None) == (copy is None), split
        if original is None or copy is None:
            continue
        assert [one.id for one in copy.samples] == [one.id for one in original.samples]
        np.testing.assert_array_equal(copy.lookup, original.lookup)
        for index, sample in enumerate(original.samples):
            seen += 1
            if sample.label is None:
                assert copy.samples[index].label is None
                assert copy.image(index).shape == (*SMALL, 3)
                continue
            image, label = copy.pair(index)
            if sample.image in {one.image for one in in_training.samples}:
                expected = at_size(original, index)
            else:
                expected = original.pair(index)
                assert copy.samples[index].image.read_bytes() == sample.image.read_bytes()
            np.testing.assert_array_equal(label, expected[1])
            assert_close(image, expected[0], sample.image)
    assert seen >= 4


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_stream_cannot_tell_the_copy(interpolation: Interpolation, tmp_path: Path) -> None:
    cityscapes(tmp_path / "data")
    given = plan("cityscapes", tmp_path / "data", "train")
    chosen = dataclasses.replace(given.origin, interpolation=interpolation)
    written(dataclasses.replace(given, origin=chosen), tmp_path / "copy")
    found = read_manifest(tmp_path / "copy")
    assert found is not None and found.origin == chosen
    transform = PairedTransform(
        resize=SMALL, interpolation=interpolation, rotate=5.0, crop=(5, 9), flip=True
    )
    first, second = (
        StreamDataset(
            open_dataset("cityscapes", root, "train"),
            (0, 1, 2, 3, 4),
            transform,
            seed=1,
            stream="labeled",
            labeled=True,
        )
        for root in (tmp_path / "data", tmp_path / "copy")
    )
    for draw in range(10):
        one, other = first[draw], second[draw]
        assert isinstance(one, Drawn) and isinstance(other, Drawn)
        assert one.id == other.id
        for mine, theirs in zip(one.example, other.example, strict=True):
            assert torch.equal(mine, theirs)


def test_labels_keep_palette_and_mode(tmp_path: Path) -> None:
    ids = write_gta5(tmp_path / "data")
    written(plan("gta5", tmp_path / "data", "train", None), tmp_path / "copy")
    with (
        Image.open(tmp_path / f"data/labels/{ids[0]}.png") as original,
        Image.open(tmp_path / f"copy/labels/{ids[0]}.png") as copy,
    ):
        assert (copy.mode, copy.getpalette()) == (original.mode, original.getpalette())
    synthia_mapped(tmp_path / "synthia")
    written(plan("synthia", tmp_path / "synthia", "train", None), tmp_path / "mapped")
    for path in (tmp_path / "mapped" / "synthia_mapped_to_cityscapes").iterdir():
        with Image.open(path) as copy:
            assert copy.mode == "L"


def test_palettes_in_another_order(tmp_path: Path) -> None:
    (name,) = write_gta5(tmp_path / "data", count=1)
    # Road's color at the index of no class, and so on.
    order = [*CITYSCAPES.palette, (0, 0, 0)]
    label = tmp_path / f"data/labels/{name}.png"
    write_label(label, cycle_ids(range(len(order))), order)
    expected = open_dataset("gta5", tmp_path / "data", "train").label(0)
    np.testing.assert_array_equal(np.unique(expected), [*range(19), 255])
    written(plan("gta5", tmp_path / "data", "train", None), tmp_path / "copy")
    copy = open_dataset("gta5", tmp_path / "copy", "train").label(0)
    np.testing.assert_array_equal(copy, resized_ids(torch.from_numpy(expected), SMALL).numpy())


def test_labels_of_synthia_become_8_bits(tmp_path: Path) -> None:
    write_synthia(tmp_path / "data")
    for output, size in (("small", SMALL), ("same", SIZE)):
        at = plan_splits(
            "synthia",
            tmp_path / "data",
            size=size,
            training="train",
            validation=None,
            keep_labeled=True,
        )
        written(at, tmp_path / output)
        for path in (tmp_path / output / "GT/LABELS").iterdir():
            assert not is_png16(path)
    for index in range(4):
        one, other = (
            open_dataset("synthia", tmp_path / root, "train").pair(index)
            for root in ("data", "same")
        )
        for mine, theirs in zip(one, other, strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_a_file_of_the_size_is_the_same_file(tmp_path: Path) -> None:
    write_voc(tmp_path / "data")
    at = plan_splits(
        "voc", tmp_path / "data", size=SIZE, training="train", validation="val", keep_labeled=False
    )
    written(at, tmp_path / "copy")
    before, after = contents(tmp_path / "data"), contents(tmp_path / "copy")
    del after[MANIFEST]
    # What only SBD annotates is in no split.
    assert after == {name: content for name, content in before.items() if "2008_" not in name}


def test_validation_at_the_size_of_the_input(tmp_path: Path) -> None:
    cityscapes(tmp_path / "data")
    for keep, size in ((True, SIZE), (False, SMALL)):
        at = plan_splits(
            "cityscapes",
            tmp_path / "data",
            size=SMALL,
            training="train",
            validation="val",
            keep_labeled=keep,
        )
        written(at, tmp_path / f"copy{keep}")
        for split, expected in (("train", SMALL), ("val", size), ("test", SMALL)):
            copy = open_dataset("cityscapes", tmp_path / f"copy{keep}", split)
            assert {copy.image(index).shape[:2] for index in range(len(copy))} == {expected}


def test_a_training_split_that_is_validated_is_refused(tmp_path: Path) -> None:
    write_camvid(tmp_path / "data")
    with pytest.raises(DataError, match=r"validated too .*validation\.resolution=input"):
        plan("camvid", tmp_path / "data", "train", "train")


def test_images_that_no_split_names(tmp_path: Path) -> None:
    cityscapes(tmp_path / "data")
    further = Path("leftImg8bit/train_extra")
    for name in ("augsburg/a_leftImg8bit.png", "bayreuth/b_leftImg8bit.png"):
        write_image(tmp_path / "data" / further / name)
    written(plan("cityscapes", tmp_path / "data", "train"), tmp_path / "copy")
    one, other = (open_unlabeled(tmp_path / at / further, VOC) for at in ("data", "copy"))
    assert [sample.id for sample in one.samples] == [sample.id for sample in other.samples]
    assert other.image(0).shape[:2] == SMALL


@pytest.mark.parametrize("listed", [False, True])
def test_unlabeled_images(listed: bool, tmp_path: Path) -> None:
    for name in ("b/2.png", "a 1.png", "c.jpeg"):
        write_image(tmp_path / "data" / name)
    source = tmp_path / "data"
    if listed:
        source = tmp_path / "data/some.txt"
        source.write_text("a 1.png\nb/2.png\n")
    written(plan_unlabeled(source, size=SMALL), tmp_path / "copy")
    copied = tmp_path / "copy" / ("some.txt" if listed else "")
    one, other = open_unlabeled(source, VOC), open_unlabeled(copied, VOC)
    assert [sample.id for sample in one.samples] == [sample.id for sample in other.samples]
    assert {other.image(index).shape[:2] for index in range(len(other))} == {SMALL}


def test_a_description_of_another_name(tmp_path: Path) -> None:
    folder(tmp_path / "data")
    (tmp_path / "data/dataset.yaml").rename(tmp_path / "data/roads.yml")
    written(plan("folder", tmp_path / "data/roads.yml", "train"), tmp_path / "copy")
    assert len(open_dataset("folder", tmp_path / "copy/roads.yml", "train")) == 4


@pytest.mark.parametrize("size", [SMALL, SIZE])
def test_masks_of_colours_become_ids(size: tuple[int, int], tmp_path: Path) -> None:
    palette = [[0, 0, 0], [0, 160, 0]]
    description = f"names: [rest, leaf]\npalette: {palette}\nid_map: {{3: 0, 8: 1}}\n"
    for name in write_folder(tmp_path / "data", description=description):
        path = tmp_path / f"data/labels/train/{name}.png"
        Image.fromarray(np.array(palette, dtype=np.uint8)[cycle_ids([0, 1])]).save(path)
    both = plan_splits(
        "folder",
        tmp_path / "data",
        size=size,
        training="train",
        validation=None,
        keep_labeled=False,
    )
    written(both, tmp_path / "copy")
    one, other = (open_dataset("folder", tmp_path / at, "train") for at in ("data", "copy"))
    expected = at_size(one, 0)[1] if size == SMALL else one.label(0)
    np.testing.assert_array_equal(other.label(0), expected)


def test_the_manifest_says_what_was_written(tmp_path: Path) -> None:
    camvid(tmp_path / "data")
    outcome = written(plan("camvid", tmp_path / "data", "train"), tmp_path / "copy")
    manifest = read_manifest(tmp_path / "copy")
    assert manifest is not None and manifest.files == outcome.files
    there = contents(tmp_path / "copy")
    assert set(manifest.files) | {MANIFEST} == set(there)
    for name, file in manifest.files.items():
        assert file.sha256 == hashlib.sha256(there[name]).hexdigest()
        assert file.bytes == len(there[name])
        assert file.stamp == Stamp.of(tmp_path / "data" / file.source)
        if name.endswith(".txt"):
            continue
        for root, path, size in (
            ("data", file.source, file.source_size),
            ("copy", name, file.size),
        ):
            with Image.open(tmp_path / root / path) as image:
                assert size == (image.height, image.width)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-20],
        lambda text: text.replace('"form": 1', '"form": 2'),
        lambda text: text.replace('"train/', '"../train/'),
        lambda text: text.replace('"sha256"', '"md5"'),
        lambda text: text.replace('"files": {', '"files": 3, "other": {'),
        lambda text: "[]",
    ],
)
def test_a_damaged_manifest(damage: Callable[[str], str], tmp_path: Path) -> None:
    write_camvid(tmp_path / "data")
    write_camvid(tmp_path / "data", "val")
    planned = plan("camvid", tmp_path / "data", "train")
    written(planned, tmp_path / "copy")
    path = tmp_path / "copy" / MANIFEST
    path.write_text(damage(path.read_text()))
    with pytest.raises(DataError, match=r"prepared\.json: is no manifest"):
        check_output(planned, tmp_path / "copy")


def test_only_what_changed_is_written_again(tmp_path: Path) -> None:
    camvid(tmp_path / "data")
    root = tmp_path / "data/CamVid"
    planned = plan("camvid", tmp_path / "data", "train")
    first = written(planned, tmp_path / "copy")
    assert first.written == len(first.files)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "copy/CamVid").rglob("*.*")}
    assert written(planned, tmp_path / "copy").written == 0
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())

    ids = [sample.id for sample in open_dataset("camvid", tmp_path / "data", "train").samples]
    write_image(root / f"train/{ids[0]}.png", seed=99)  # the original changes
    damaged = tmp_path / f"copy/CamVid/trainannot/{ids[1]}.png"  # the copy is damaged
    damaged.write_bytes(damaged.read_bytes()[:-1])
    (tmp_path / f"copy/CamVid/train/{ids[2]}.png").unlink()
    left = tmp_path / f"copy/CamVid/train/.{ids[2]}.png.01234abc"  # of a process that was killed
    left.write_bytes(b"half")
    changed = written(planned, tmp_path / "copy")
    assert changed.written == 6  # three pairs
    written(planned, tmp_path / "fresh")
    assert contents(tmp_path / "copy") == contents(tmp_path / "fresh")


def test_what_the_original_no_longer_has_is_removed(tmp_path: Path) -> None:
    write_cityscapes(tmp_path / "data")
    write_cityscapes(tmp_path / "data", "val")
    written(plan("cityscapes", tmp_path / "data", "train"), tmp_path / "copy")
    for path in (tmp_path / "data").rglob("train/zurich/*"):
        path.unlink()
    written(plan("cityscapes", tmp_path / "data", "train"), tmp_path / "copy")
    assert not list((tmp_path / "copy").rglob("train/zurich"))
    assert len(open_dataset("cityscapes", tmp_path / "copy", "train")) == 3


def damage(root: Path) -> list[Path]:
    """One of each kind in a CamVid training split of 8; the files that are wrong."""
    ids = write_camvid(root, count=8)
    write_camvid(root, "val")
    cut = root / f"train/{ids[0]}.png"
    cut.write_bytes(cut.read_bytes()[:-40])
    text = root / f"trainannot/{ids[1]}.png"
    text.write_text("no picture")
    larger = root / f"trainannot/{ids[2]}.png"
    write_label(larger, np.zeros((SIZE[0], SIZE[1] + 1), dtype=np.uint8))
    unknown = root / f"trainannot/{ids[3]}.png"
    write_label(unknown, np.full(SIZE, 200, dtype=np.uint8))
    return [cut, text, larger, unknown]


def test_damaged_files_are_found_together(tmp_path: Path) -> None:
    bad = damage(tmp_path / "data")
    planned = plan("camvid", tmp_path / "data", "train")
    for _ in range(2):  # a second run says the same
        outcome = written(planned, tmp_path / "copy")
        assert [problem.kind for problem in outcome.problems] == [
            "undecodable",
            "undecodable",
            "size mismatch",
            "unknown ids",
        ]
        assert [Path(problem.path) for problem in outcome.problems] == bad
        copy = open_dataset("camvid", tmp_path / "copy", "train")
        assert len(copy) == 4
    for path in bad:  # put right
        if path.parent.name == "train":
            write_image(path)
        else:
            write_label(path, cycle_ids(range(12)))
    outcome = written(planned, tmp_path / "copy")
    assert (outcome.written, outcome.problems) == (8, ())
    assert len(open_dataset("camvid", tmp_path / "copy", "train")) == 8


def test_damaged_files_are_copied_as_they_are(tmp_path: Path) -> None:
    bad = damage(tmp_path / "data")
    planned = plan("camvid", tmp_path / "data", "train")
    for _ in range(2):
        outcome = written(planned, tmp_path / "copy", keep_bad=True)
        assert len(outcome.problems) == 4
        for path in bad:
            copy = tmp_path / "copy" / path.relative_to(tmp_path / "data")
            assert copy.read_bytes() == path.read_bytes()
        one, other = (open_dataset("camvid", tmp_path / at, "train") for at in ("data", "copy"))
        assert [sample.id for sample in one.samples] == [sample.id for sample in other.samples]
    content = json.loads((tmp_path / "copy" / MANIFEST).read_text())
    assert sum(bool(file["problem"]) for file in content["files"].values()) == 8


def test_several_processes_write_the_same(tmp_path: Path) -> None:
    damage(tmp_path / "data")
    planned = plan("camvid", tmp_path / "data", "train")
    outcomes = [
        written(planned, tmp_path / f"copy{jobs}", jobs=jobs, keep_bad=True) for jobs in (1, 2)
    ]
    assert outcomes[0] == outcomes[1]
    assert contents(tmp_path / "copy1") == contents(tmp_path / "copy2")


def test_two_processes_do_not_write_one_copy(tmp_path: Path) -> None:
    camvid(tmp_path / "data")
    wanted = plan("camvid", tmp_path / "data", "train")
    output = tmp_path / "copy"
    output.mkdir()
    handle = os.open(output, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(ConfigError, match="another process"):
        written(wanted, output)
    assert not any(output.iterdir())
    os.close(handle)
    assert written(wanted, output, jobs=2).written
    assert not written(wanted, output).written  # the lock is gone with whoever held it


@pytest.mark.parametrize("place", ["data", "data/inside", "link/inside", "data/train/.."])
def test_a_copy_in_the_data_is_refused(place: str, tmp_path: Path) -> None:
    write_camvid(tmp_path / "data")
    write_camvid(tmp_path / "data", "val")
    (tmp_path / "link").symlink_to(tmp_path / "data")
    before = contents(tmp_path / "data")
    with pytest.raises(ConfigError, match="lies in the data set"):
        written(plan("camvid", tmp_path / "data", "train"), tmp_path / place)
    assert contents(tmp_path / "data") == before


def test_images_behind_a_link_are_not_written_to(tmp_path: Path) -> None:
    write_camvid(tmp_path / "real")
    write_camvid(tmp_path / "data", "val")
    for name in ("train", "trainannot"):
        (tmp_path / "data" / name).symlink_to(tmp_path / "real" / name)
    planned = plan("camvid", tmp_path / "data", "train")
    with pytest.raises(ConfigError, match="lies in the data set"):
        written(planned, tmp_path / "real/train/copy")
    written(planned, tmp_path / "copy")
    assert not any(path.is_symlink() for path in (tmp_path / "copy").rglob("*"))
    assert open_dataset("camvid", tmp_path / "copy", "train").image(0).shape[:2] == SMALL


def test_other_content_is_refused(tmp_path: Path) -> None:
    for name in ("data", "other"):
        write_camvid(tmp_path / name)
        write_camvid(tmp_path / name, "val")
    planned = plan("camvid", tmp_path / "data", "train")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"holds files, but no prepared\.json"):
        written(planned, tmp_path / "full")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match="is not a folder"):
        written(planned, tmp_path / "file")
    written(planned, tmp_path / "copy")
    before = contents(tmp_path / "copy")
    others = (
        plan("camvid", tmp_path / "other", "train"),
        plan_splits(
            "camvid",
            tmp_path / "data",
            size=(6, 10),
            training="train",
            validation="val",
            keep_labeled=True,
        ),
    )
    for other, said in zip(others, ("other at 7x11", "data at 6x10"), strict=True):
        with pytest.raises(ConfigError, match=f"holds a copy of .*data at 7x11 .*{said}"):
            written(other, tmp_path / "copy")
    assert contents(tmp_path / "copy") == before
