"""What a run writes while it goes on: a line of metrics at a time, and TensorBoard's curves."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import threading
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, final

from mixseg.distributed import by_first
from mixseg.engine.run_directory import RunDirectory
from mixseg.errors import TrainingError
from mixseg.files import not_written
from mixseg.terminal import complain


@final
class RunLog:
    """``metrics.jsonl`` and, if asked for, ``tensorboard/``; the first process alone writes."""

    def __init__(
        self,
        run: RunDirectory,
        offset: int = 0,
        sha256: str = "",
        *,
        first: int = 0,
        tensorboard: bool = False,
    ) -> None:
        """Open the files.

        Args:
            run: Whose they are.
            offset: Bytes of ``metrics.jsonl`` that are kept.
            sha256: Of these bytes; empty where it is not known.
            first: Step that the run goes on from; later points of curves are dropped.
            tensorboard: Whether curves are written.
        """
        self._metrics = MetricsLog(run.metrics, offset, sha256) if run.locked else None
        self.problem = "" if self._metrics is None else self._metrics.problem
        """What has become of ``metrics.jsonl`` since the checkpoint; empty if nothing has."""
        self._board = (
            Curves(run.path / "tensorboard", first) if run.locked and tensorboard else None
        )

    def write(
        self, step: int, values: Mapping[str, float | None], *, seconds: float | None = None
    ) -> None:
        """Log values after a step; of several processes all call this.

        Raises:
            TrainingError: The disk is full.
        """
        by_first(partial(self._write, step, values, seconds))

    def _write(self, step: int, values: Mapping[str, float | None], seconds: float | None) -> None:
        assert self._metrics is not None  # this is the process that writes
        time = {} if seconds is None else {"seconds": round(seconds, 4)}
        self._metrics.write({"step": step} | dict(values) | time)
        if self._board is not None:
            self._board.write(step, values)

    def written(self) -> tuple[int, str]:
        """Bytes of metrics that are on disk, and their SHA-256; for the process that writes."""
        assert self._metrics is not None
        return self._metrics.written()

    def close(self) -> None:
        """Close the files."""
        for file in (self._metrics, self._board):
            if file is not None:
                file.close()


@final
class Curves:
    """``tensorboard/``: written by a thread of TensorBoard."""

    def __init__(self, path: Path, first: int = 0) -> None:
        """Open; points from step ``first`` on are dropped.

        Raises:
            TrainingError: The disk is full.
        """
        from torch.utils.tensorboard import SummaryWriter

        self.path = path
        self._hook = threading.excepthook
        threading.excepthook = self._unless_known
        with self._error_for_people():
            self._writer = SummaryWriter(str(path), purge_step=first)

    def write(self, step: int, values: Mapping[str, float | None]) -> None:
        """Add a point to the curve of each value.

        Raises:
            TrainingError: The disk is full; the thread may notice some steps later.
        """
        with self._error_for_people():
            for name, value in values.items():
                if value is not None:
                    self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is left; no run ends because it does not fit."""
        try:
            with self._error_for_people():
                self._writer.close()
        except TrainingError as error:
            complain(f"warning: {error}")
        threading.excepthook = self._hook

    def _unless_known(self, arguments: threading.ExceptHookArgs) -> None:
        # The thread keeps its error and raises it in the next call, where it is one for people.
        if "tensorboard" not in type(arguments.thread).__module__:
            self._hook(arguments)

    @contextlib.contextmanager
    def _error_for_people(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TrainingError(not_written(self.path, error)) from error


@final
class MetricsLog:
    """``metrics.jsonl``: appended, and cut back to the checkpoint when a run is resumed."""

    def __init__(self, path: Path, offset: int = 0, sha256: str = "") -> None:
        """Open at a byte offset; lines after it belong to steps that will be done again.

        Args:
            path: The file.
            offset: Bytes that are kept.
            sha256: Of these bytes, to know whether they are those that were written; empty where
                it is not known.
        """
        self.path = path
        self._file = path.open("ab+")
        self._file.seek(0)
        kept = self._file.read(offset)
        self.problem = ""
        if len(kept) < offset or (sha256 and hashlib.sha256(kept).hexdigest() != sha256):
            # Half a line would join the next one.
            kept = kept[: kept.rfind(b"\n") + 1]
            self.problem = (
                f"{path}: was changed since the checkpoint: of its {offset} bytes there are "
                f"{len(kept)} in whole lines, which are kept; others are lost"
            )
        self._hash = hashlib.sha256(kept)
        self._file.truncate(len(kept))
        self._file.seek(0, os.SEEK_END)

    def write(self, record: Mapping[str, Any]) -> None:
        """Append one line; a number that is not finite, which JSON has none for, as null.

        Raises:
            TrainingError: The disk is full.
        """
        try:
            known = {
                name: None if isinstance(value, float) and not math.isfinite(value) else value
                for name, value in record.items()
            }
            line = json.dumps(known).encode() + b"\n"
            self._file.write(line)
            self._file.flush()  # people watch this file
            self._hash.update(line)
        except OSError as error:
            raise TrainingError(not_written(self.path, error)) from error

    def written(self) -> tuple[int, str]:
        """Bytes written so far, all of them on disk, and their SHA-256.

        Raises:
            TrainingError: The disk is full or damaged.
        """
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise TrainingError(not_written(self.path, error)) from error
        return self._file.tell(), self._hash.hexdigest()

    def close(self) -> None:
        """Close; every line is written already, or was an error."""
        with contextlib.suppress(OSError):
            self._file.close()
