"""Only regular files are read, wherever a name comes from; what is written lies under one name."""

from __future__ import annotations

import ast
import os
import shutil
import socket
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from mixseg.config.yaml import load_yaml
from mixseg.data.images import (
    image_size,
    is_png16,
    orientation_in_header,
    photograph_size,
    read_first_channel,
    read_image,
    read_index_png,
    read_photograph,
    write_png,
)
from mixseg.data.lists import read_list, read_permutation
from mixseg.data.prepared_copy import MANIFEST, read_manifest
from mixseg.data.voc import _read_sbd
from mixseg.errors import MixsegError
from mixseg.files import opened, read_bytes, read_json_lines, read_text, write_atomically
from mixseg.models import read_weight_file
from mixseg.training.checkpoint import read_checkpoint, write_checkpoint
from mixseg.training.precision import read_precision
from tests.end_to_end.processes import REPOSITORY

PATIENCE = 60.0
"""Seconds after which a reader counts as one that waits for ever."""


def outcome(call: Callable[[], object]) -> object:
    """What a call gives or raises, from a thread of its own: one that hangs fails the test."""
    found: list[object] = []

    def work() -> None:
        try:
            found.append(call())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive(), "it waits for ever"
    return found[0]


READERS: dict[str, Callable[[Path], object]] = {
    "image.png": read_image,
    "size.jpg": image_size,
    "photograph.jpg": read_photograph,
    "upright.jpg": photograph_size,
    "orientation.jpg": orientation_in_header,
    "label.png": read_index_png,
    "depth.png": is_png16,
    "synthia.png": read_first_channel,
    "sbd.mat": _read_sbd,
    "list.txt": read_list,
    "split.pkl": lambda path: read_permutation(path, 4),
    "settings.yaml": load_yaml,
    "weights.pth": lambda path: read_weight_file(str(path)),
    "weights.pt": lambda path: read_weight_file(str(path), sha256="0" * 64),
    "weights.safetensors": lambda path: read_weight_file(str(path)),
    "precision.json": read_precision,
    "metrics.jsonl": read_json_lines,
    MANIFEST: lambda path: read_manifest(path.parent),
    "bytes": read_bytes,
    "text": read_text,
}
"""A file, and what reads it."""


def impostors(folder: Path) -> dict[str, Path]:
    """What is no regular file, by its kind."""
    pipe, folder_there = folder / "pipe", folder / "folder"
    os.mkfifo(pipe)
    folder_there.mkdir()
    return {"pipe": pipe, "device": Path("/dev/zero"), "folder": folder_there}


def test_no_reader_takes_anything_but_a_regular_file(tmp_path: Path) -> None:
    checkpoint = tmp_path / "step-00000001"
    write_checkpoint(checkpoint, {"student": {"weight": torch.zeros(2)}}, {"step": 1})
    readers = READERS | {
        name: lambda path: read_checkpoint(path.parent)
        for name in ("state.json", "student.safetensors")
    }
    for kind, impostor in impostors(tmp_path).items():
        for name, read in readers.items():
            path = tmp_path / f"{kind} {name}" / name
            path.parent.mkdir()
            if (checkpoint / name).exists():
                shutil.copytree(checkpoint, path.parent, dirs_exist_ok=True)
                path.unlink()
            path.symlink_to(impostor)
            error = outcome(partial(read, path))
            assert isinstance(error, MixsegError | OSError), (kind, name)
            assert name in str(error)
    os.mkfifo(tmp_path / "list.txt")
    assert isinstance(outcome(lambda: read_list(tmp_path / "list.txt")), MixsegError)


def test_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("s")
        assert isinstance(outcome(lambda: read_bytes(Path("s"))), OSError)


class TestReading:
    def test_links_to_files_are_files(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"a\r\nb\n")
        (tmp_path / "link").symlink_to("file")
        assert read_bytes(tmp_path / "link") == b"a\r\nb\n"
        assert read_text(tmp_path / "link") == "a\nb\n"

    def test_up_to_the_limit(self, tmp_path: Path) -> None:
        for size in (0, 1, 200_000):
            content = os.urandom(size)
            (tmp_path / "file").write_bytes(content)
            assert read_bytes(tmp_path / "file", size) == content
            with pytest.raises(OSError, match="at most"):
                read_bytes(tmp_path / "file", size - 1)

    def test_a_file_that_grows_faster_than_it_is_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "file"
        path.write_bytes(b"x")
        status = os.fstat

        def grown(handle: int) -> os.stat_result:
            found = status(handle)
            with path.open("ab") as file:  # between looking at the size and reading
                file.truncate(10**9)
            return found

        monkeypatch.setattr(os, "fstat", grown)
        with pytest.raises(OSError, match="at most"):
            read_bytes(path, 10**6)

    def test_handles_are_closed(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "file").touch()
        before = len(list(Path("/dev/fd").iterdir()))
        for name in ("pipe", "file", "missing", "."):
            for _ in range(3):
                assert outcome(lambda: read_bytes(tmp_path / name)) is not None  # noqa: B023
        assert len(list(Path("/dev/fd").iterdir())) == before
        with opened(tmp_path / "file") as file:
            assert file.read() == b""
        assert file.closed


class TestWriting:
    def test_links_under_guessed_names_are_not_followed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        victim = tmp_path / "victim"
        victim.write_text("precious")
        # Even if somebody guesses the name: the random part is known here.
        monkeypatch.setattr("secrets.token_hex", lambda size: "0" * 2 * size)
        (tmp_path / f".new.{8 * '0'}").symlink_to("victim")
        with pytest.raises(FileExistsError):
            write_atomically(tmp_path / "new", "content")
        assert victim.read_text() == "precious"

    def test_pictures_follow_no_links(self, tmp_path: Path) -> None:
        victim = tmp_path / "victim"
        victim.write_text("precious")
        path = tmp_path / "a.png"
        path.symlink_to("victim")
        (tmp_path / f".a.png.{os.getpid()}.tmp").symlink_to("victim")
        write_png(path, torch.zeros(2, 2, dtype=torch.uint8).numpy())
        assert victim.read_text() == "precious"
        assert not path.is_symlink()
        assert read_image(path).shape == (2, 2, 3)


READING = {
    *("read_text", "read_bytes", "open", "fdopen", "load_file", "safe_open", "fromfile", "memmap"),
    *("loadtxt", "genfromtxt", "loadmat", "imread", "load"),
}
"""Methods and functions of modules that read a file by its name."""

ELSEWHERE = {
    "mixseg/files.py": "is where files are opened",
    "mixseg/training/precision.py": "reads /proc",
    "mixseg/analysis/doctor.py": "reads /proc and /sys",
    "mixseg/terminal.py": "opens /dev/null",
    "mixseg/training/loggers/jsonl.py": "opens the log that it writes",
}
"""Files of the package that open something by other means, and why they may."""

CONTENT = {"file", "content", "data", "saved", "entry", "io.BytesIO(content)", "io.BytesIO(data)"}
"""What open files, bytes, and members of an open archive are called."""


def writes(call: ast.Call) -> bool:
    """Whether ``path.open`` is given a mode that only writes."""
    modes = [one.value for one in call.args if isinstance(one, ast.Constant)]
    return any(isinstance(mode, str) and mode[:1] in "xaw" and "+" not in mode for mode in modes)


def readings(source: str) -> list[str]:
    """The calls of a module that open files for reading by their names."""
    found = []
    for call in ast.walk(ast.parse(source)):
        if not isinstance(call, ast.Call):
            continue
        name = call.func.attr if isinstance(call.func, ast.Attribute) else ast.unparse(call.func)
        is_reading = name in READING if isinstance(call.func, ast.Attribute) else name == "open"
        loads_itself = name == "load" and not call.args  # a command, an image, an unpickler
        content = bool(call.args) and ast.unparse(call.args[0]) in CONTENT
        if is_reading and not (loads_itself or content or writes(call)):
            found.append(f"line {call.lineno}: {ast.unparse(call)}")
    return found


MODULES = sorted((REPOSITORY / "mixseg").rglob("*.py"))


def test_files_are_opened_in_one_place() -> None:
    found: dict[str, Any] = {}
    for path in MODULES:
        name = path.relative_to(REPOSITORY).as_posix()
        if calls_here := readings(path.read_text(encoding="utf-8")):
            found[name] = calls_here
    assert {name: one for name, one in found.items() if name not in ELSEWHERE} == {}
    assert set(ELSEWHERE) == set(found), "an exception is no longer one"


def test_the_search_finds_what_reads_alone() -> None:
    for line in (
        *("open(name)", "path.open()", "path.open('rb')", "path.read_text()", "torch.load(path)"),
        *("safetensors.torch.load_file(path)", "Image.open(path)", "os.open(path, os.O_RDONLY)"),
    ):
        assert readings(line), line
    for line in ("path.open('xb')", "read_text(path)", "Image.open(file)"):
        assert not readings(line), line
