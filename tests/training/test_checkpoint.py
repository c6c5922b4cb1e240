"""Checkpoints are complete or not there, and a damaged one is never used."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch

from mixseg.errors import CheckpointError
from mixseg.files import write_atomically
from mixseg.training.checkpoint import CheckpointStore, read_checkpoint, write_checkpoint

FILES = ["manifest.json", "state.json", "student.safetensors", "optimizer.safetensors"]


def save(store: CheckpointStore, step: int) -> Path:
    tensors = {
        "student": {"weight": torch.full((3, 4), float(step)), "count": torch.tensor(step)},
        "optimizer": {"0.momentum_buffer": torch.full((5,), -float(step))},
    }
    return store.save(step, tensors, {"step": step, "best": {"student": [step, 0.5]}})


def steps(store: CheckpointStore) -> list[int]:
    return sorted(int(path.name.removeprefix("step-")) for path in store.candidates())


def latest(folder: Path) -> tuple[int, list[str]]:
    """Step of the latest intact checkpoint, and why others were passed over."""
    checkpoint, problems = CheckpointStore(folder).latest()
    assert checkpoint is not None
    return checkpoint.state["step"], problems


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert CheckpointStore(tmp_path).latest() == (None, [])
    whole = torch.arange(48).view(2, 3, 2, 4)
    given = {
        str(dtype): whole.to(dtype).to(memory_format=torch.channels_last)
        for dtype in (torch.float32, torch.bfloat16, torch.float64, torch.int64, torch.uint8)
    } | {"scalar": torch.tensor(3)}
    state = {"step": 7, "best": {"student": [7, 0.5]}}
    path = CheckpointStore(tmp_path).save(7, {"student": given, "optimizer": {}}, state)
    checkpoint, problems = CheckpointStore(tmp_path).latest()
    assert checkpoint is not None and problems == []
    assert (checkpoint.state, set(checkpoint.tensors)) == (state, {"student", "optimizer"})
    for name, value in given.items():
        loaded = checkpoint.tensors["student"][name]
        assert torch.equal(loaded, value)
        assert (loaded.dtype, loaded.shape) == (value.dtype, value.shape)
    assert set(read_checkpoint(path, only=("student",)).tensors) == {"student"}
    with pytest.raises(CheckpointError, match="'teacher'"):
        read_checkpoint(path, only=("teacher",))


class TestRetention:
    def test_the_latest_and_multiples_are_kept(self, tmp_path: Path) -> None:
        for every, kept in ((0, [60, 70]), (20, [20, 40, 60, 70])):
            (tmp_path / str(every)).mkdir()
            store = CheckpointStore(tmp_path / str(every), keep=2, keep_every=every)
            for step in range(10, 80, 10):
                save(store, step)
            assert steps(store) == kept

    def test_other_folders_are_left_alone_and_are_no_steps(self, tmp_path: Path) -> None:
        write_checkpoint(tmp_path / "best-student", {"student": {}}, {})
        others = ("step-notes", "step-\u00b2", "step-\u0663", "step-\uff11", "step--1", "step-1e3")
        for name in others:
            (tmp_path / name).mkdir()
        store = CheckpointStore(tmp_path, keep=1)
        for step in (1, 2):
            save(store, step)
        assert [path.name for path in store.candidates()] == ["step-00000002"]
        assert all((tmp_path / name).is_dir() for name in ("best-student", *others))

    def test_a_damaged_newer_one_does_not_cost_the_one_just_written(self, tmp_path: Path) -> None:
        store = CheckpointStore(tmp_path, keep=1, keep_every=20)
        for step in (20, 40):
            save(store, step)
        (tmp_path / "step-00000040" / "state.json").unlink()
        # The run goes on from step 20 and is interrupted at step 30, then again.
        path = save(store, 30)
        assert latest(tmp_path)[0] == 30
        (path / "state.json").write_text("{}")
        save(store, 30)
        assert read_checkpoint(path).state["step"] == 30


@pytest.mark.parametrize("name", FILES)
def test_damage_is_found_and_named(name: str, tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    paths = [save(store, step) / name for step in (1, 2)]
    content = paths[1].read_bytes()

    def passed_over() -> None:
        step, problems = latest(tmp_path)
        assert step == 1 and len(problems) == 1
        # A damaged manifest may accuse the file that it misnames.
        assert ("step-00000002" if name == "manifest.json" else str(paths[1])) in problems[0]

    positions = range(8 * len(content))
    for position in random.Random(0).sample(positions, min(len(positions), 150)):
        changed = bytearray(content)
        changed[position // 8] ^= 1 << position % 8
        paths[1].write_bytes(changed)
        passed_over()
    for share in (0.0, 0.5, 0.99):
        paths[1].write_bytes(content[: int(share * len(content))])
        passed_over()
    paths[1].unlink()
    passed_over()
    paths[0].write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"step-00000002.*step-00000001"):
        store.latest()


def test_every_flipped_bit_of_a_manifest_is_found(tmp_path: Path) -> None:
    # A manifest has no hash of its own: every single bit is tried.
    path = save(CheckpointStore(tmp_path), 1) / "manifest.json"
    content = path.read_bytes()
    for position in range(8 * len(content)):
        changed = bytearray(content)
        changed[position // 8] ^= 1 << position % 8
        path.write_bytes(changed)
        with pytest.raises(CheckpointError):
            read_checkpoint(path.parent)


class TestFailingDisk:
    @pytest.mark.parametrize("fails_at", [0, 2, 5])
    def test_an_error_while_writing_leaves_the_old_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int
    ) -> None:
        store = CheckpointStore(tmp_path, keep=1)
        save(store, 1)
        calls = iter(range(1000))
        flush = os.fsync

        def full(handle: int) -> None:
            if next(calls) >= fails_at:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            flush(handle)

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(CheckpointError, match=r"No space left.*intact"):
            save(store, 2)
        monkeypatch.undo()
        assert latest(tmp_path) == (1, [])
        assert sorted(path.name for path in tmp_path.iterdir()) == ["latest.json", "step-00000001"]
        save(store, 2)
        assert steps(store) == [2]

    def test_a_real_limit_on_the_size_of_files(self, tmp_path: Path) -> None:
        save(CheckpointStore(tmp_path, keep=1), 1)
        code = f"""
            import resource, signal, torch
            from pathlib import Path
            from mixseg.training.checkpoint import CheckpointStore
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
            tensors = {{"small": {{"x": torch.zeros(1)}}, "large": {{"x": torch.zeros(10000)}}}}
            CheckpointStore(Path({str(tmp_path)!r}), keep=1).save(2, tensors, {{"step": 2}})
        """
        result = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True
        )
        assert "CheckpointError" in result.stderr
        assert "File too large" in result.stderr
        assert latest(tmp_path) == (1, [])

    def test_a_folder_left_by_a_killed_process_is_in_nobodys_way(self, tmp_path: Path) -> None:
        left = tmp_path / ".step-00000003.partial"
        left.mkdir()
        (left / "student.safetensors").write_bytes(b"half")
        store = CheckpointStore(tmp_path)
        assert store.latest() == (None, [])
        save(store, 3)
        assert not left.exists()
        assert steps(store) == [3]

    def test_killed_while_saving(self, tmp_path: Path) -> None:
        # A process that does nothing but save is killed at odd moments; what it leaves is whole.
        code = f"""
            import itertools, torch
            from pathlib import Path
            from mixseg.training.checkpoint import CheckpointStore
            store = CheckpointStore(Path({str(tmp_path)!r}), keep=2)
            first = store.latest()[0]
            for step in itertools.count(1 if first is None else first.state["step"] + 1):
                tensors = {{n: {{"x": torch.full((20000,), step)}} for n in ("student", "teacher")}}
                store.save(step, tensors, {{"step": step}})
                print(step, flush=True)
        """
        reached = 0
        for delay in (0.003, 0.011):
            process = subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
            )
            assert process.stdout is not None
            last = int(process.stdout.readline())
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
            last = max([last, *(int(line) for line in process.stdout.read().split())])
            process.wait()
            process.stdout.close()
            checkpoint, problems = CheckpointStore(tmp_path).latest()
            assert problems == []
            assert checkpoint is not None
            assert checkpoint.state["step"] >= last > reached
            reached = checkpoint.state["step"]
            assert all((named["x"] == reached).all() for named in checkpoint.tensors.values())


def test_write_atomically_replaces_or_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    write_atomically(path, "old")
    write_atomically(path, b"new")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="full"):
        write_atomically(path, json.dumps({"x": 1}))
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_removed_ends_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As on a network drive, while somebody reads a checkpoint that is replaced or too old.
    def busy(path: Path, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            raise OSError(errno.EBUSY, "Device or resource busy", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", busy)
        for step in range(3):
            write_checkpoint(tmp_path / "best", {"x": {"value": torch.tensor(step)}}, {})
        store = CheckpointStore(tmp_path, keep=1)
        for step in (1, 2):
            save(store, step)
        # The process ends between putting the old one aside and bringing in the new one.
        (tmp_path / "best").rename(tmp_path / ".best.2.replaced")
        store.remove_leftovers()
    assert int(read_checkpoint(tmp_path / "best").tensors["x"]["value"]) == 2
    store.remove_leftovers()
    assert sorted(path.name for path in tmp_path.glob("*best*")) == ["best"]
    assert latest(tmp_path)[0] == 2
    # Earlier versions gave no number to what they put aside.
    (tmp_path / "best").rename(tmp_path / ".best.replaced")
    store.remove_leftovers()
    assert int(read_checkpoint(tmp_path / "best").tensors["x"]["value"]) == 2
