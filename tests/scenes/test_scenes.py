"""The built-in scenes: pure, complete, exactly labeled, and written whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixseg.errors import DataError
from mixseg.scenes import Look, ensure_demo, render_scene, write_demo

TRAIN_IDS = {7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33}
IGNORED_IDS = {1, 4}
LOOKS: tuple[Look, ...] = ("render", "camera")
SMALL = (48, 96)


def test_a_scene_depends_on_its_arguments_and_nothing_else() -> None:
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    for look, other in zip(LOOKS, LOOKS[::-1], strict=True):
        first = render_scene(3, 5, SMALL, look)
        for arguments in ((4, 5, SMALL, look), (3, 6, SMALL, look), (3, 5, SMALL, other)):
            for one, changed in zip(first, render_scene(*arguments), strict=True):
                assert not np.array_equal(one, changed)
        for one, same in zip(first, render_scene(3, 5, SMALL, look), strict=True):
            np.testing.assert_array_equal(one, same)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


PIXELS = {
    1: 811, 4: 77, 7: 32358, 8: 4322, 11: 15828, 12: 1173, 13: 1490, 17: 4788,
    19: 898, 20: 992, 21: 14106, 22: 1393, 23: 11707, 24: 860, 25: 545, 26: 8299,
    27: 2352, 28: 3770, 31: 3221, 32: 503, 33: 1099,
}  # fmt: skip
"""Raw id -> pixels of it in the first scenes."""


def test_scenes_are_those_of_earlier_versions() -> None:
    """Copies in caches stay valid until the version is raised."""
    counts = np.zeros(34, dtype=int)
    for look in LOOKS:
        for index in range(12):
            counts += np.bincount(render_scene(0, index, SMALL, look)[1].ravel(), minlength=34)
    expected = [PIXELS.get(raw_id, 0) for raw_id in range(34)]
    # Machines round sines, and versions of libraries edges, differently.
    np.testing.assert_allclose(counts, expected, atol=15)


def test_any_size_gives_rgb_and_labels_of_that_size() -> None:
    for size in ((32, 64), (33, 65), (61, 127), (96, 96), (150, 70)):
        for look in LOOKS:
            for index in range(3):
                image, label = render_scene(2, index, size, look)
                assert (image.shape, label.shape) == ((*size, 3), size)
                assert image.dtype == label.dtype == np.uint8
                assert 7 in label
                assert set(np.unique(label)) <= TRAIN_IDS | IGNORED_IDS
    for size, look, word in (
        ((31, 64), "camera", "32x64"),
        ((32, 5000), "camera", "4096"),
        ((32, 64), "sketch", "sketch"),
    ):
        with pytest.raises(DataError, match=word):
            render_scene(0, 0, size, look)


@pytest.mark.parametrize("look", LOOKS)
def test_thirty_scenes_hold_every_class_several_times(look: Look) -> None:
    scenes_with = dict.fromkeys(TRAIN_IDS | IGNORED_IDS, 0)
    for index in range(30):
        _, label = render_scene(0, index, (128, 256), look)
        for raw_id, pixels in zip(*np.unique(label, return_counts=True), strict=True):
            scenes_with[int(raw_id)] += pixels >= 40
    assert all(scenes_with[raw_id] >= 3 for raw_id in TRAIN_IDS), scenes_with
    assert any(scenes_with[raw_id] for raw_id in IGNORED_IDS)


def test_the_looks_have_a_domain_gap() -> None:
    def saturation(look: Look) -> float:
        images = np.stack([render_scene(0, i, SMALL, look)[0] for i in range(16)]).astype(float)
        return float(np.mean(images.max(axis=-1) - images.min(axis=-1)))

    assert saturation("render") > 1.25 * saturation("camera")


def test_color_alone_does_not_tell_the_class() -> None:
    """The best guess from a pixel's color, seen on other scenes, stays far from right."""
    cells, classes = 8**3, 34
    counts = np.zeros((2, cells, classes))
    for index in range(60):
        image, label = render_scene(0, index, SMALL)
        r, g, b = np.moveaxis(image.astype(np.int64) // 32, -1, 0)
        cell = (r * 8 + g) * 8 + b
        np.add.at(counts[index % 2], (cell.ravel(), label.ravel()), 1)
    guess = counts[0].argmax(axis=1)
    right = np.array([counts[1][guess == c, c].sum() for c in sorted(TRAIN_IDS)])
    asked = counts[1][:, sorted(TRAIN_IDS)].sum(axis=0)
    assert np.mean(right / asked) < 0.25


def test_files_lie_as_in_cityscapes_and_equal_the_scenes(tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    how = {"seed": 4, "progress": lambda *done: steps.append(done)}
    counts = {"train": 6, "val": 3}
    root = write_demo(tmp_path / "demo", look="camera", counts=counts, size=SMALL, **how)
    assert steps == [(i, 9) for i in range(1, 10)]
    assert json.loads((root / "demo.json").read_text())["counts"] == counts
    found = set()
    for path in root.glob("leftImg8bit/*/*/*_leftImg8bit.png"):
        split, city = path.parent.parent.name, path.parent.name
        stem = path.name.removesuffix("_leftImg8bit.png")
        assert stem.startswith(f"{city}_")
        label = root / "gtFine" / split / city / f"{stem}_gtFine_labelIds.png"
        with Image.open(path) as image, Image.open(label) as ids:
            assert (image.mode, ids.mode) == ("RGB", "L")
            found.add((split, np.asarray(image).tobytes(), np.asarray(ids).tobytes()))
    expected = set()
    for split, first, count in (("train", 0, 6), ("val", 1_000_000, 3)):
        for index in range(first, first + count):
            image, ids = render_scene(4, index, SMALL, "camera")
            expected.add((split, image.tobytes(), ids.tobytes()))
    assert found == expected


def test_nothing_is_overwritten_and_nothing_half_is_left(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    with pytest.raises(DataError, match="already exists"):
        write_demo(tmp_path / "demo", look="render", counts={"val": 1}, size=SMALL)
    assert not list((tmp_path / "demo").iterdir())
    for counts in ({"test": 1}, {"train": 0}, {}):
        with pytest.raises(DataError, match="demo"):
            write_demo(tmp_path / "new", look="render", counts=counts, size=SMALL)

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_demo(tmp_path / "new", look="camera", counts={"train": 4}, size=SMALL, progress=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_drafts_of_killed_processes_are_removed_and_those_at_work_are_not(tmp_path: Path) -> None:
    def ensure(seed: int, progress: Callable[[int, int], None] | None = None) -> Path:
        how = {"seed": seed, "cache": tmp_path, "progress": progress}
        return ensure_demo(counts={"train": 1}, size=SMALL, **how)

    def drafts() -> list[Path]:
        return list(tmp_path.glob(".*.partial"))

    def leave_and_draw_another(done: int, total: int) -> None:
        (own,) = drafts()
        # What a killed process leaves has the files, and nobody who has it locked.
        left = shutil.copytree(own, own.with_name(own.name.replace("seed0", "seed9")))
        young = shutil.copytree(own, own.with_name(own.name.replace("seed0", "seed8")))
        for path in (own, left):
            os.utime(path, (0, 0))
        ensure(1)
        assert set(drafts()) == {own, young}

    assert ensure(0, leave_and_draw_another).is_dir()
    (young,) = drafts()
    os.utime(young, (0, 0))
    ensure(0)  # there already
    assert not drafts()


def test_the_cache_is_written_once_per_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def ensure(seed: int) -> Path:
        progress = lambda done, total: calls.append(done)  # noqa: E731
        return ensure_demo(counts={"train": 1}, size=SMALL, seed=seed, progress=progress)

    monkeypatch.setenv("MIXSEG_CACHE", str(tmp_path / "own"))
    assert ensure(0) == ensure(0) == tmp_path / "own/demo-camera-train1-48x96-seed0-v1"
    assert calls == [1]
    assert ensure(1) != ensure(0)
    monkeypatch.delenv("MIXSEG_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "shared"))
    assert ensure(0).parent == tmp_path / "shared" / "mixseg"


def test_two_processes_at_once_get_the_same_folder(tmp_path: Path) -> None:
    # Each process waits, after its first scene, until the other has begun to write too.
    program = """
import sys, time
from pathlib import Path
from mixseg.scenes import ensure_demo
cache, own, other = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
def meet(done, total):
    own.touch()
    limit = time.monotonic() + 200
    while not other.exists() and time.monotonic() < limit:
        time.sleep(0.01)
print(ensure_demo(counts={"train": 2, "val": 1}, size=(48, 96), cache=cache, progress=meet))
"""
    marks, cache = [str(tmp_path / "first"), str(tmp_path / "second")], tmp_path / "cache"
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(cache), *order],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for order in (marks, marks[::-1])
    ]
    answers = [run.communicate(timeout=300) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], answers
    folders = {answer[0].strip() for answer in answers}
    assert len(folders) == 1
    assert [str(path) for path in cache.iterdir()] == list(folders)
    assert len(list(cache.glob("*/gtFine/*/*/*.png"))) == 3
