"""The folder of a run: made once, used by one process at a time, never overwritten."""

from __future__ import annotations

import contextlib
import errno
import importlib.metadata
import json
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
from mixseg.training.precision import RECORD

LOCK = "run.lock"
RECORDS = (
    "split.json",
    "class_map.yaml",
    "alignment.yaml",
    "frequencies.yaml",
    "related.json",
    RECORD,
    "teacher/manifest.json",
)
"""Small files that a run reads again when it goes on; a checkpoint has copies of them."""

PACKAGES = ("mixseg", "torch", "torchvision", "timm", "numpy", "scipy", "pillow", "safetensors")


@final
class RunDirectory:
    """Files of a run.

    Attributes:
        locked: Whether this is the process that writes.
        config: The resolved settings; themselves a valid ``--config``.
        summary: Scores of a finished run.
        labeled: Ids of the labeled images; so ``unlabeled``, and ``held_out`` of those that
            ``data.val`` keeps for validation, if it does.
        data_record: The data that the run depends on; see :mod:`mixseg.data.record`.
        skipped: Images that could not be read, one JSON object per line; with ``data.skip_bad``.
        class_map: Where each class of a source domain went.
        alignment: Share of each class that pseudo-labels are aligned to; so ``frequencies`` of
            those among the labeled pixels, where a part asks for them.
        related: Pairs of classes that belong together by the labels, where a part asks for them.
        precision: What ``training.precision: auto`` has chosen.
        class_pixels: Pixels of each class in each label file, where images are drawn by them; if it
            is lost they are counted again.
    """

    def __init__(self, path: Path, *, lock: bool = True) -> None:
        """Open an existing folder and, in the process that writes, lock it against other processes.

        Raises:
            MixsegError: There is no such folder, or another process uses it.
        """
        self.locked = lock
        self._at(path)
        if not lock:  # a network drive may not show it to this process yet
            return
        if not path.is_dir():
            raise MixsegError(f"{path}: there is no such run")
        try:
            self._lock = FolderLock(path, LOCK)
        except BlockingIOError as error:
            raise MixsegError(f"{path}: another process is training in this folder") from error
        except OSError as error:
            raise MixsegError(
                f"{path}: cannot be used: {error.strerror}. A run goes on in a folder that can be "
                "written: make it so, or copy it to one and give that to --resume"
            ) from error

    def _at(self, path: Path) -> None:
        self.path = path
        self.config, self.summary = path / "config.yaml", path / "summary.json"
        self.checkpoints, self.skipped = path / "checkpoints", path / "skipped.jsonl"
        self.lists = {name: path / f"{name}.txt" for name in ("labeled", "unlabeled", "target")}
        self.held_out, self.data_record = path / "val.txt", path / FILE
        self.class_map, self.alignment = path / "class_map.yaml", path / "alignment.yaml"
        self.frequencies, self.precision = path / "frequencies.yaml", path / RECORD
        self.class_pixels = path / "class_pixels.json"
        self.related = path / "related.json"

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
            for left in temporary.iterdir():  # by a process that was killed here
                if left.is_dir():
                    shutil.rmtree(left)
                elif left.name != LOCK:
                    left.unlink()
            run.checkpoints.mkdir()
        except MixsegError as error:
            if isinstance(error.__cause__, BlockingIOError):
                raise MixsegError(f"{path}: another process is just beginning this run") from error
            raise
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
                RunDirectory(path).remove()
            self.path.rename(path)
            flush_folder(path.parent)
        except OSError as error:
            taken = error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)
            raise MixsegError(_exists(path) if taken else _not_made(path, error)) from error
        self._at(path)

    def records(self) -> dict[str, str]:
        """Name -> content of those of :data:`RECORDS` that are there."""
        found = {}
        for name in RECORDS:
            with contextlib.suppress(OSError, ValueError):
                found[name] = read_text(self.path / name)
        return found

    def restore_records(self, kept: Mapping[str, Any]) -> list[str]:
        """Write those anew that are not as a checkpoint has them; gives their names."""
        own = self.records()
        changed = [name for name in RECORDS if isinstance(kept.get(name), str)]
        changed = [name for name in changed if kept[name] != own.get(name)]
        for name in changed:
            (self.path / name).parent.mkdir(exist_ok=True)
            write_atomically(self.path / name, kept[name])
        return changed

    def write_environment(self, changes: Sequence[str] = ()) -> None:
        """Record what the run depends on besides its settings; resumed runs add an entry.

        ``changes`` are those of settings and data that ``--allow-changes`` has accepted.
        """
        path = self.path / "environment.json"
        try:
            entries = read_json(path)
        except (OSError, ValueError):  # there is none yet, or a damaged record, which is no loss
            entries = []
        gpus = range(torch.cuda.device_count())
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
                "gpus": [torch.cuda.get_device_name(index) for index in gpus],
                "cuda": torch.version.cuda,
                "tf32": {
                    "convolutions": torch.backends.cudnn.allow_tf32,
                    "products": torch.backends.cuda.matmul.allow_tf32,
                },
            }
        )
        write_atomically(path, json.dumps(entries, indent=1))

    def check_class_map(self, content: str) -> None:
        """Raise a MixsegError where classes go elsewhere than when the run was started."""
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
        """Raise a MixsegError where other images are labeled than when the run was started.

        ``lists`` and ``held_out`` are the flags that give the run its own images, for the message.
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
        """Remove a folder that :meth:`create` has just made."""
        shutil.rmtree(self.path)
        self.close()


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
