"""The folder of a run: made once, used by one process at a time, never overwritten."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import importlib.metadata
import json
import os
import platform
import shlex
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import torch

from mixseg.data.record import FILE
from mixseg.errors import MixsegError
from mixseg.files import FolderLock, flush_folder, read_json, read_text, write_atomically

LOCK = "run.lock"
RECORDS = (
    "split.json",
    "class_map.yaml",
    "alignment.yaml",
    "frequencies.yaml",
    "precision.json",
    "teacher/manifest.json",
)
"""Small files that a run reads again when it goes on; a checkpoint has copies of them."""

PACKAGES = ("mixseg", "torch", "torchvision", "timm", "numpy", "scipy", "pillow", "safetensors")


@final
class RunDirectory:
    """Files of a run.

    ``config.yaml`` (resolved settings), ``environment.json``, ``labeled.txt``, ``unlabeled.txt``,
    ``val.txt`` and ``split.json``, ``metrics.jsonl``, ``checkpoints/`` and, at the end,
    ``summary.json``.
    """

    def __init__(self, path: Path, *, lock: bool = True) -> None:
        """Open an existing folder and lock it against other processes.

        Args:
            path: The folder.
            lock: False in all processes of a run but the first, the one that writes.

        Raises:
            MixsegError: There is no such folder, or another process uses it.
        """
        self.path = path
        self.locked = lock
        if not lock:  # a network drive may not show it to this process yet
            return
        if not path.is_dir():
            raise MixsegError(f"{path}: there is no such run")
        self._lock = _locked(path)

    @classmethod
    def create(cls, path: Path) -> RunDirectory:
        """Begin a new run, under a temporary name until :meth:`publish`.

        Whoever is killed meanwhile leaves no folder that looks like a run. A folder without
        settings and checkpoints, which earlier versions left then, counts as not begun.

        Raises:
            MixsegError: It exists already, or cannot be made, or another process begins it.
        """
        if path.is_symlink() or (path.exists() and not is_blank(path)):
            raise MixsegError(_exists(path))
        temporary = path.with_name(f".{path.name}.new")
        if temporary.is_symlink():  # what lies in there would be removed
            raise MixsegError(f"{temporary}: is a link, where {path} would be begun: remove it")
        try:
            temporary.mkdir(parents=True, exist_ok=True)
            run = cls(temporary)
        except MixsegError as error:
            if isinstance(error.__cause__, BlockingIOError):
                raise MixsegError(f"{path}: another process is just beginning this run") from error
            raise
        except OSError as error:
            raise MixsegError(_not_made(path, error)) from error
        try:
            for left in temporary.iterdir():  # by a process that was killed here
                if left.is_dir():
                    shutil.rmtree(left)
                elif left.name != LOCK:
                    left.unlink()
            (temporary / "checkpoints").mkdir()
        except OSError as error:
            raise MixsegError(_not_made(path, error)) from error
        return run

    def publish(self) -> None:
        """Give the folder of a new run its name; it is whole by then.

        Raises:
            MixsegError: The name has been taken, or the folder cannot be renamed.
        """
        path = self.path.with_name(self.path.name.removeprefix(".").removesuffix(".new"))
        try:
            if path.exists() and is_blank(path):
                # Refused while another process, of an earlier version, begins a run in there.
                blank = RunDirectory(path)
                blank.remove()
            self.path.rename(path)
            flush_folder(path.parent)
        except OSError as error:
            taken = error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)
            raise MixsegError(_exists(path) if taken else _not_made(path, error)) from error
        self.path = path

    @property
    def config(self) -> Path:
        """The resolved settings; themselves a valid ``--config``."""
        return self.path / "config.yaml"

    @property
    def metrics(self) -> Path:
        """One JSON object per line."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def summary(self) -> Path:
        """Scores of a finished run."""
        return self.path / "summary.json"

    def records(self) -> dict[str, str]:
        """Name -> content of those of :data:`RECORDS` that are there."""
        found = {}
        for name in RECORDS:
            with contextlib.suppress(OSError, ValueError):
                found[name] = read_text(self.path / name)
        return found

    def restore_records(self, kept: Mapping[str, Any]) -> list[str]:
        """Write those anew that are not as a checkpoint has them.

        Args:
            kept: What :meth:`records` gave; names of other files are passed over.

        Returns:
            Names of the files.
        """
        own = self.records()
        changed = [name for name in RECORDS if isinstance(kept.get(name), str)]
        changed = [name for name in changed if kept[name] != own.get(name)]
        for name in changed:
            (self.path / name).parent.mkdir(exist_ok=True)
            write_atomically(self.path / name, kept[name])
        return changed

    def write_environment(self, changes: Sequence[str] = ()) -> None:
        """Record what the run depends on besides its settings; resumed runs add an entry.

        Args:
            changes: Of settings and data, which ``--allow-changes`` has accepted.
        """
        path = self.path / "environment.json"
        try:
            entries = read_json(path)
        except (OSError, ValueError):  # there is none yet, or a damaged record, which is no loss
            entries = []
        entries.append(
            {
                "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                "command": sys.argv,
                **({"accepted_changes": list(changes)} if changes else {}),
                "python": platform.python_version(),
                "platform": platform.platform(),
                "packages": {name: package_version(name) for name in PACKAGES},
                "threads": torch.get_num_threads(),
                "cpu": torch.backends.cpu.get_cpu_capability(),
                "gpus": [
                    torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())
                ],
                "cuda": torch.version.cuda,
                "tf32": {
                    "convolutions": torch.backends.cudnn.allow_tf32,
                    "products": torch.backends.cuda.matmul.allow_tf32,
                },
            }
        )
        write_atomically(path, json.dumps(entries, indent=1))

    @property
    def labeled(self) -> Path:
        """Ids of the labelled images."""
        return self.path / "labeled.txt"

    @property
    def unlabeled(self) -> Path:
        """Ids of the unlabelled images."""
        return self.path / "unlabeled.txt"

    @property
    def data_record(self) -> Path:
        """What the run rests on in its data; see :mod:`mixseg.data.record`."""
        return self.path / FILE

    @property
    def held_out(self) -> Path:
        """Ids of the images that are kept for validation, where ``data.val`` asks for some."""
        return self.path / "val.txt"

    @property
    def skipped(self) -> Path:
        """Images that could not be read, one JSON object per line; with ``data.skip_bad``."""
        return self.path / "skipped.jsonl"

    @property
    def class_map(self) -> Path:
        """Where each class of a source domain went."""
        return self.path / "class_map.yaml"

    @property
    def alignment(self) -> Path:
        """Share of each class that pseudo-labels are aligned to."""
        return self.path / "alignment.yaml"

    @property
    def precision(self) -> Path:
        """What ``training.precision: auto`` has chosen; on a CPU with the times that decided."""
        return self.path / "precision.json"

    @property
    def frequencies(self) -> Path:
        """Share of each class among the labelled pixels, where a loss weighs classes by it."""
        return self.path / "frequencies.yaml"

    def check_class_map(self, content: str) -> None:
        """Refuse to go on with labels that mean something else.

        Raises:
            MixsegError: The map differs from the one that the run was started with.
        """
        try:
            saved = read_text(self.class_map)
        except (OSError, ValueError) as error:
            raise MixsegError(
                f"{self.class_map}: missing or damaged; the classes cannot be checked"
            ) from error
        if saved != content:
            raise MixsegError(
                f"{self.path}: its class map has changed since; go on with the one that it was "
                f"started with: --set source_domain.class_map={self.class_map} --allow-changes"
            )

    def check_split(self, digest: str, lists: str, held_out: str = "") -> None:
        """Refuse to go on with other labelled images than the run was started with.

        Args:
            digest: Of the split that the data gives now.
            lists: The flag that gives the run's own images, for the message.
            held_out: The flag that gives what it holds out, and a blank; empty if it does not.

        Raises:
            MixsegError: The split differs, for example because files were added.
        """
        record = self.path / "split.json"
        try:
            saved = read_json(record)["digest"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise MixsegError(
                f"{record}: missing or damaged; the split cannot be checked"
            ) from error
        if saved != digest:
            raise MixsegError(
                f"{self.path}: its split is {saved}, the data now gives {digest}: was a setting of "
                "it changed, or were files added or removed? Give the run's own lists: "
                f"{lists} {held_out}--allow-changes. Where images of the first are gone, "
                f"{held_out}--allow-changes alone goes on with the split of what is there"
            )

    def close(self) -> None:
        """Release the lock."""
        if self.locked:
            self._lock.close()

    def remove(self) -> None:
        """Take back a folder that :meth:`create` has just made."""
        shutil.rmtree(self.path)
        self.close()


@final
class _Lock:
    """A folder and a file in it, locked against other processes.

    The folder's lock holds where somebody removes the file; the file's holds on network drives,
    many of which lock no folders. Both die with the process, also with one that is killed.
    """

    def __init__(self, folder: Path) -> None:
        # Loader workers, which outlive a killed process for seconds, let go of their copies as
        # soon as they are forked.
        self._file = (folder / LOCK).open("a")
        os.register_at_fork(after_in_child=self._file.close)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._folder = FolderLock(folder)
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        self._file.close()
        self._folder.close()


def _locked(path: Path) -> _Lock:
    try:
        return _Lock(path)
    except BlockingIOError as error:
        raise MixsegError(f"{path}: another process is training in this folder") from error
    except OSError as error:
        raise MixsegError(
            f"{path}: cannot be used: {error.strerror}. A run goes on in a folder that can be "
            "written: make it so, or copy it to one and give that to --resume"
        ) from error


def is_blank(path: Path) -> bool:
    """Whether a folder holds neither settings nor checkpoints: no run has begun in it."""
    try:
        return path.is_dir() and all(
            entry.name == LOCK
            or (entry.name == "checkpoints" and entry.is_dir() and not any(entry.iterdir()))
            for entry in path.iterdir()
        )
    except OSError:
        return False


def _exists(path: Path) -> str:
    return (
        f"{path} exists already and is not overwritten. Go on with it by --resume "
        f"{shlex.quote(str(path))}, or choose another --name."
    )


def _not_made(path: Path, error: OSError) -> str:
    return f"{path}: cannot be made: {error.strerror}. Give an --output that has room for it"


def package_version(package: str) -> str | None:
    """The installed version of a distribution; None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
