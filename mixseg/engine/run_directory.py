"""The folder of a run: made once, used by one process at a time, never overwritten."""

from __future__ import annotations

import fcntl
import importlib.metadata
import json
import os
import platform
import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import IO, final

import torch

from mixseg.errors import MixsegError
from mixseg.files import write_atomically

PACKAGES = ("mixseg", "torch", "torchvision", "timm", "numpy", "scipy", "pillow", "safetensors")


@final
class RunDirectory:
    """Files of a run.

    ``config.yaml`` (resolved settings), ``environment.json``, ``labeled.txt``, ``unlabeled.txt``
    and ``split.json``, ``metrics.jsonl``, ``checkpoints/`` and, at the end, ``summary.json``.
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
        try:
            # The lock dies with the process, also with one that is killed: loader workers, which
            # outlive it for seconds, let go of their copy as soon as they are forked.
            self._lock: IO[str] = (path / "run.lock").open("a")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.register_at_fork(after_in_child=self._lock.close)
        except BlockingIOError as error:
            raise MixsegError(f"{path}: another process is training in this folder") from error
        except OSError as error:
            raise MixsegError(
                f"{path}: cannot be used: {error.strerror}. A run goes on in a folder that can be "
                "written: make it so, or copy it to one and give that to --resume"
            ) from error

    @classmethod
    def create(cls, path: Path) -> RunDirectory:
        """Make a new run folder.

        Raises:
            MixsegError: It exists already, or cannot be made.
        """
        try:
            path.mkdir(parents=True)
        except FileExistsError as error:
            raise MixsegError(
                f"{path} exists already and is not overwritten. Go on with it by --resume "
                f"{shlex.quote(str(path))}, or choose another --name."
            ) from error
        except OSError as error:
            raise MixsegError(_not_made(path, error)) from error
        try:
            (path / "checkpoints").mkdir()
        except OSError as error:
            path.rmdir()
            raise MixsegError(_not_made(path, error)) from error
        return cls(path)

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

    def write_environment(self) -> None:
        """Record what the run depends on besides its settings; resumed runs add an entry."""
        path = self.path / "environment.json"
        try:
            entries = json.loads(path.read_text())
        except (OSError, ValueError):  # there is none yet, or a damaged record, which is no loss
            entries = []
        entries.append(
            {
                "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                "command": sys.argv,
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
    def unlabeled(self) -> Path:
        """Ids of the unlabelled images."""
        return self.path / "unlabeled.txt"

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
            saved = self.class_map.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise MixsegError(
                f"{self.class_map}: missing or damaged; the classes cannot be checked"
            ) from error
        if saved != content:
            raise MixsegError(
                f"{self.path}: its class map has changed since; go on with the one that it was "
                f"started with: --set source_domain.class_map={self.class_map} --allow-changes"
            )

    def check_split(
        self, digest: str, unlabeled: str, lists: str, *, allow_changes: bool = False
    ) -> None:
        """Refuse to go on with other images than the run was started with.

        Args:
            digest: Of the split that the data gives now.
            unlabeled: What ``unlabeled.txt`` would hold now.
            lists: The flag that gives the run's own images, for the message.
            allow_changes: Take other unlabelled images too.

        Raises:
            MixsegError: The split differs, for example because files were added.
        """
        record = self.path / "split.json"
        try:
            saved = json.loads(record.read_text())["digest"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise MixsegError(
                f"{record}: missing or damaged; the split cannot be checked"
            ) from error
        if saved != digest:
            raise MixsegError(
                f"{self.path}: its split is {saved}, the data now gives {digest}: was the seed "
                "changed, or were files added or removed? Give the run's own lists: "
                f"{lists} --allow-changes"
            )

        if not allow_changes and self.unlabeled.read_text(encoding="utf-8") != unlabeled:
            raise MixsegError(
                f"{self.path}: the unlabelled images are not those of {self.unlabeled.name} any "
                "more, and what is drawn from them would differ. Bring them back, start a new run, "
                "or go on with other images: --allow-changes"
            )

    def close(self) -> None:
        """Release the lock."""
        if self.locked:
            self._lock.close()

    def remove(self) -> None:
        """Take back a folder that :meth:`create` has just made."""
        self.close()
        shutil.rmtree(self.path)


def _not_made(path: Path, error: OSError) -> str:
    return f"{path}: cannot be made: {error.strerror}. Give an --output that has room for it"


def package_version(package: str) -> str | None:
    """The installed version of a distribution; None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
