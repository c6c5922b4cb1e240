"""A prepared copy gives a loader what the original gives it, resized, in every layout."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mixseg.data.cityscapes import CITYSCAPES
from mixseg.data.contract import SegmentationDataset
from mixseg.data.images import is_png16, read_image
from mixseg.data.layout import open_dataset
from mixseg.data.prepared_copy import (
    MANIFEST,
    Outcome,
    Plan,
    check_output,
    plan_splits,
    plan_unlabeled,
    prepare,
    read_manifest,
)
from mixseg.data.transforms import (
    Example,
    resized,
    resized_ids,
    resized_image,
)
from mixseg.data.unlabeled import open_unlabeled
from mixseg.data.voc import VOC
from mixseg.errors import ConfigError, DataError
from tests.data.layouts import (
    EXAMPLES,
    SIZE,
    cycle_ids,
    write_camvid,
    write_folder,
    write_gta5,
    write_image,
    write_label,
    write_synthia,
    write_turned,
    write_voc,
)

SMALL = (7, 11)
"""Height and width of copies; neither divides those of the originals."""


def plan(
    name: str, root: Path, training: str = "train", validation: str | None = "val", **options: Any
) -> Plan:
    options = {"size": SMALL, "keep_labeled": True} | options
    return plan_splits(name, root, training=training, validation=validation, **options)


def written(plan: Plan, output: Path, jobs: int = 1, keep_bad: bool = False) -> Outcome:
    earlier = check_output(plan, output)
    return prepare(
        plan, output, earlier, jobs=jobs, keep_bad=keep_bad, progress=lambda done, total: None
    )


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def at_size(dataset: SegmentationDataset, index: int) -> tuple[np.ndarray, np.ndarray]:
    """A pair as the loader brings it to the small size."""
    image, label = dataset.pair(index)
    pixels, ids = torch.from_numpy(image).permute(2, 0, 1), torch.from_numpy(label)
    example = resized(Example(pixels, ids, torch.ones(label.shape, dtype=torch.bool)), SMALL)
    return example.image.permute(1, 2, 0).numpy(), example.label.numpy()


def small_camvid(root: Path) -> Plan:
    for split in ("train", "val"):
        write_camvid(root, split)
    return plan("camvid", root)


@pytest.mark.parametrize("layout", EXAMPLES)
def test_every_layout(layout: str, tmp_path: Path) -> None:
    write, name, training, validation = EXAMPLES[layout]
    write(tmp_path / "data")
    before = contents(tmp_path / "data")
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*")}
    outcome = written(plan(name, tmp_path / "data", training, validation), tmp_path / "copy")
    assert not outcome.problems
    assert contents(tmp_path / "data") == before
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    trained = {one.image for one in open_dataset(name, tmp_path / "data", training).samples}
    seen = 0
    for split in ("train", "val", "test", "trainval", "train_aug", "extra"):
        try:
            original = open_dataset(name, tmp_path / "data", split)
        except DataError:
            with pytest.raises(DataError):
                open_dataset(name, tmp_path / "copy", split)
            continue
        copy = open_dataset(name, tmp_path / "copy", split)
        assert [one.id for one in copy.samples] == [one.id for one in original.samples]
        np.testing.assert_array_equal(copy.lookup, original.lookup)
        for index, sample in enumerate(original.samples):
            seen += 1
            if sample.label is None:
                assert copy.samples[index].label is None
                assert copy.image(index).shape == (*SMALL, 3)
                continue
            image, label = copy.pair(index)
            if sample.image in trained:
                expected = at_size(original, index)
            else:
                expected = original.pair(index)
                assert copy.samples[index].image.read_bytes() == sample.image.read_bytes()
            np.testing.assert_array_equal(label, expected[1])
            assert image.shape == expected[0].shape
            # The images are noise, the hardest there is for a JPEG.
            most = 0 if sample.image.suffix.lower() == ".png" else 8
            assert np.abs(image.astype(int) - expected[0]).mean() <= most
    assert seen >= 4


def test_bicubic_images(tmp_path: Path) -> None:
    (name, *_) = write_camvid(tmp_path / "data")
    planned = plan("camvid", tmp_path / "data", validation=None, interpolation="bicubic")
    written(planned, tmp_path / "copy")
    found = read_manifest(tmp_path / "copy")
    assert found is not None and found.origin == planned.origin
    image = torch.from_numpy(read_image(tmp_path / f"data/train/{name}.png")).permute(2, 0, 1)
    expected = resized_image(image, SMALL, "bicubic").permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(read_image(tmp_path / f"copy/train/{name}.png"), expected)


def test_palettes_stay_in_any_order(tmp_path: Path) -> None:
    ids = write_gta5(tmp_path / "data")
    # Road's color at the index of no class, and so on.
    order = [*CITYSCAPES.palette, (0, 0, 0)]
    write_label(tmp_path / f"data/labels/{ids[0]}.png", cycle_ids(range(len(order))), order)
    expected = open_dataset("gta5", tmp_path / "data", "train").label(0)
    np.testing.assert_array_equal(np.unique(expected), [*range(19), 255])
    written(plan("gta5", tmp_path / "data", validation=None), tmp_path / "copy")
    for name in ids:
        with (
            Image.open(tmp_path / f"data/labels/{name}.png") as original,
            Image.open(tmp_path / f"copy/labels/{name}.png") as copied,
        ):
            colors = original.getpalette()
            assert (copied.mode, copied.getpalette()[: len(colors)]) == (original.mode, colors)
    copy = open_dataset("gta5", tmp_path / "copy", "train").label(0)
    np.testing.assert_array_equal(copy, resized_ids(torch.from_numpy(expected), SMALL).numpy())


def test_labels_of_synthia_become_8_bits(tmp_path: Path) -> None:
    write_synthia(tmp_path / "data")
    written(plan("synthia", tmp_path / "data", "train", None, size=SIZE), tmp_path / "copy")
    assert not any(is_png16(path) for path in (tmp_path / "copy/GT/LABELS").iterdir())
    one, other = (open_dataset("synthia", tmp_path / root, "train") for root in ("data", "copy"))
    for index in range(4):
        for mine, theirs in zip(one.pair(index), other.pair(index), strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_masks_of_colors_become_ids(tmp_path: Path) -> None:
    palette = [[0, 0, 0], [0, 160, 0]]
    description = f"names: [rest, leaf]\npalette: {palette}\nid_map: {{3: 0, 8: 1}}\n"
    for name in write_folder(tmp_path / "data", description=description):
        path = tmp_path / f"data/labels/train/{name}.png"
        Image.fromarray(np.array(palette, dtype=np.uint8)[cycle_ids([0, 1])]).save(path)
    one = open_dataset("folder", tmp_path / "data", "train")
    for size, expected in ((SMALL, at_size(one, 0)[1]), (SIZE, one.label(0))):
        planned = plan("folder", tmp_path / "data", "train", None, size=size, keep_labeled=False)
        written(planned, tmp_path / f"copy {size}")
        other = open_dataset("folder", tmp_path / f"copy {size}", "train")
        np.testing.assert_array_equal(other.label(0), expected)
    # The root may be a description of another name.
    (tmp_path / "data/dataset.yaml").rename(tmp_path / "data/roads.yml")
    planned = plan("folder", tmp_path / "data/roads.yml", "train", None, keep_labeled=False)
    written(planned, tmp_path / "renamed")
    assert len(open_dataset("folder", tmp_path / "renamed/roads.yml", "train")) == 4


def test_a_file_of_the_size_is_the_same_file(tmp_path: Path) -> None:
    write_voc(tmp_path / "data")
    written(plan("voc", tmp_path / "data", size=SIZE, keep_labeled=False), tmp_path / "copy")
    before, after = contents(tmp_path / "data"), contents(tmp_path / "copy")
    del after[MANIFEST]
    # What only SBD annotates is in no split.
    assert after == {name: content for name, content in before.items() if "2008_" not in name}


def test_what_is_validated_keeps_its_size(tmp_path: Path) -> None:
    EXAMPLES["cityscapes"].write(tmp_path / "data")
    further = Path("leftImg8bit/train_extra")  # images that no split names
    write_image(tmp_path / "data" / further / "augsburg/a_leftImg8bit.png")
    for keep, size in ((True, SIZE), (False, SMALL)):
        output = tmp_path / f"copy{keep}"
        written(plan("cityscapes", tmp_path / "data", keep_labeled=keep), output)
        for split, expected in (("train", SMALL), ("val", size), ("test", SMALL)):
            copy = open_dataset("cityscapes", output, split)
            assert {copy.image(index).shape[:2] for index in range(len(copy))} == {expected}
        (sample,) = open_unlabeled(output / further, VOC).samples
        assert sample.id == "augsburg/a_leftImg8bit"
    write_camvid(tmp_path / "camvid")
    with pytest.raises(DataError, match=r"validation\.resolution=input"):
        plan("camvid", tmp_path / "camvid", "train", "train")


def test_unlabeled_images(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in ("b/2.png", "c.jpeg"):
        write_image(data / name)
    upright = np.repeat(np.arange(240, dtype=np.uint8).reshape(12, 20)[..., None], 3, axis=2)
    write_turned(data / "a 1.png", upright, 6)
    (data / "some.txt").write_text("a 1.png\nb/2.png\n")
    for listed in ("", "some.txt"):
        copied = tmp_path / f"copy{listed}"
        written(plan_unlabeled(data / listed, size=SMALL), copied)
        one, other = open_unlabeled(data / listed, VOC), open_unlabeled(copied / listed, VOC)
        assert [sample.id for sample in one.samples] == [sample.id for sample in other.samples]
        assert {other.image(index).shape[:2] for index in range(len(other))} == {SMALL}
        pixels = torch.from_numpy(upright).permute(2, 0, 1)
        expected = resized_image(pixels, SMALL).permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(other.image(0), expected)


def test_the_manifest_says_what_was_written(tmp_path: Path) -> None:
    EXAMPLES["camvid"].write(tmp_path / "data")
    outcome = written(plan("camvid", tmp_path / "data"), tmp_path / "copy")
    manifest = read_manifest(tmp_path / "copy")
    assert manifest is not None and manifest.files == outcome.files
    there = contents(tmp_path / "copy")
    assert set(manifest.files) | {MANIFEST} == set(there)
    for name, file in manifest.files.items():
        assert file.sha256 == hashlib.sha256(there[name]).hexdigest()
        assert file.bytes == len(there[name])
        original = (tmp_path / "data" / file.source).stat()
        assert file.stamp == {"bytes": original.st_size, "mtime_ns": original.st_mtime_ns}
        sizes = {
            tmp_path / "data" / file.source: file.source_size,
            tmp_path / "copy" / name: file.size,
        }
        for path, size in sizes.items():
            if path.suffix != ".txt":
                with Image.open(path) as image:
                    assert size == (image.height, image.width)


def test_a_damaged_manifest(tmp_path: Path) -> None:
    planned = small_camvid(tmp_path / "data")
    written(planned, tmp_path / "copy")
    path = tmp_path / "copy" / MANIFEST
    text = path.read_text()
    for damaged in (
        text[:-20],
        text.replace('"form": 1', '"form": 2'),
        text.replace('"train/', '"../train/'),
        text.replace('"sha256"', '"md5"'),
        text.replace('"files": {', '"files": 3, "other": {'),
        "[]",
    ):
        path.write_text(damaged)
        with pytest.raises(DataError, match=r"prepared\.json"):
            check_output(planned, tmp_path / "copy")


def test_only_what_changed_is_written_again(tmp_path: Path) -> None:
    EXAMPLES["camvid"].write(tmp_path / "data")
    root = tmp_path / "data/CamVid"
    planned = plan("camvid", tmp_path / "data")
    first = written(planned, tmp_path / "copy")
    assert first.written == len(first.files)
    # A manifest of the form that earlier versions wrote.
    saved = json.loads((tmp_path / "copy" / MANIFEST).read_text())
    assert list(saved) == [
        "form", "dataset", "root", "size", "compression", "interpolation", "files",
    ]  # fmt: skip
    del saved["interpolation"]
    (tmp_path / "copy" / MANIFEST).write_text(json.dumps(saved))
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
    assert written(planned, tmp_path / "copy").written == 6  # three pairs
    written(planned, tmp_path / "fresh")
    assert contents(tmp_path / "copy") == contents(tmp_path / "fresh")
    # What the original no longer has is removed.
    for path in root.glob("val*/*.*"):
        path.unlink()
    written(plan("camvid", tmp_path / "data", validation=None), tmp_path / "copy")
    assert not list((tmp_path / "copy/CamVid").glob("val*/*"))
    assert not (tmp_path / "copy/CamVid/val").exists()


KILLED = """
import os
from pathlib import Path
from mixseg.data import prepared_copy
from tests.data.test_prepared_copy import plan
prepared_copy.SAVE_EVERY = 0
planned = plan("camvid", Path("data"))
earlier = prepared_copy.check_output(planned, Path("copy"))
stop = lambda done, total: os._exit(3) if done == 6 else None
prepared_copy.prepare(planned, Path("copy"), earlier, jobs=1, keep_bad=False, progress=stop)
"""


def test_a_killed_copy_goes_on(tmp_path: Path) -> None:
    planned, output = small_camvid(tmp_path / "data"), tmp_path / "copy"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    program = [sys.executable, "-c", KILLED]
    assert subprocess.run(program, cwd=tmp_path, env=environment).returncode == 3
    found = read_manifest(output)
    assert found is not None and len(found.files) == 10  # it was saved some time before
    before = {name: (output / name).stat().st_ino for name in found.files}
    done = written(planned, output)
    assert done.written == len(done.files) - len(before)
    # A file that is written again gets another inode.
    assert {name: (output / name).stat().st_ino for name in before} == before
    written(planned, tmp_path / "fresh")
    assert contents(output) == contents(tmp_path / "fresh")


def damage(root: Path) -> list[Path]:
    """One of each kind in a CamVid training split of 8; the files that are wrong."""
    ids = write_camvid(root, count=8)
    write_camvid(root, "val")
    cut = root / f"train/{ids[0]}.png"
    cut.write_bytes(cut.read_bytes()[:-40])
    text, larger, unknown = (root / f"trainannot/{name}.png" for name in ids[1:4])
    text.write_text("no picture")
    write_label(larger, np.zeros((SIZE[0], SIZE[1] + 1), dtype=np.uint8))
    write_label(unknown, np.full(SIZE, 200, dtype=np.uint8))
    return [cut, text, larger, unknown]


def test_damaged_files_are_left_out_or_copied_as_they_are(tmp_path: Path) -> None:
    bad = damage(tmp_path / "data")
    planned = plan("camvid", tmp_path / "data")
    kinds = ["undecodable", "undecodable", "size mismatch", "unknown ids"]
    for keep_bad in (False, True):
        outcomes = [
            written(planned, tmp_path / f"copy{jobs}", jobs, keep_bad) for jobs in (1, 2, 1)
        ]
        assert contents(tmp_path / "copy1") == contents(tmp_path / "copy2")
        for outcome in outcomes:  # a second run says the same
            assert [problem.kind for problem in outcome.problems] == kinds
            assert [Path(problem.path) for problem in outcome.problems] == bad
        copy = open_dataset("camvid", tmp_path / "copy1", "train")
        assert len(copy) == (8 if keep_bad else 4)
    for path in bad:
        copied = tmp_path / "copy1" / path.relative_to(tmp_path / "data")
        assert copied.read_bytes() == path.read_bytes()
    manifest = read_manifest(tmp_path / "copy1")
    assert sum(bool(file.problem) for file in manifest.files.values()) == 8
    for path in bad:  # put right
        if path.parent.name == "train":
            write_image(path)
        else:
            write_label(path, cycle_ids(range(12)))
    outcome = written(planned, tmp_path / "copy1")
    assert (outcome.written, outcome.problems) == (8, ())
    copy = open_dataset("camvid", tmp_path / "copy1", "train")
    assert {copy.pair(index)[0].shape[:2] for index in range(8)} == {SMALL}


def test_two_processes_do_not_write_one_copy(tmp_path: Path) -> None:
    wanted, output = small_camvid(tmp_path / "data"), tmp_path / "copy"
    output.mkdir()
    handle = os.open(output, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(ConfigError, match="another process"):
        written(wanted, output)
    assert not any(output.iterdir())
    os.close(handle)
    assert written(wanted, output, jobs=2).written
    assert not written(wanted, output).written  # the lock is gone with whoever held it


def test_places_that_are_refused(tmp_path: Path) -> None:
    planned = small_camvid(tmp_path / "data")
    (tmp_path / "link").symlink_to(tmp_path / "data")
    # Images that lie behind a link belong to the data.
    write_camvid(tmp_path / "real")
    write_camvid(tmp_path / "linked", "val")
    for name in ("train", "trainannot"):
        (tmp_path / "linked" / name).symlink_to(tmp_path / "real" / name)
    linked = plan("camvid", tmp_path / "linked")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    written(linked, tmp_path / "copy")
    before = contents(tmp_path)
    for wanted, place in (
        *((planned, place) for place in ("data", "data/inside", "link/inside", "data/train/..")),
        (linked, "real/train/copy"),
        (planned, "full"),  # other files
        (planned, "file"),
        (planned, "copy"),  # of other data
        (plan("camvid", tmp_path / "linked", size=(6, 10)), "copy"),
        (plan("camvid", tmp_path / "linked", interpolation="bicubic"), "copy"),
    ):
        with pytest.raises(ConfigError, match="--output"):
            written(wanted, tmp_path / place)
    assert contents(tmp_path) == before
    assert not any(path.is_symlink() for path in (tmp_path / "copy").rglob("*"))
    assert open_dataset("camvid", tmp_path / "copy", "train").image(0).shape[:2] == SMALL
