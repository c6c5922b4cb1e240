"""``metrics.jsonl``: a line for each logged step."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from mixseg.errors import TrainingError
from mixseg.files import not_written
from mixseg.registry import LOGGERS
from mixseg.training.loggers.logger import Logger

LOG = logging.getLogger("mixseg")


@LOGGERS.register("jsonl")
@final
class JsonLines(Logger):
    """Appended, and cut back to the checkpoint when a run is resumed."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "metrics.jsonl"

    def begin(self, step: int, saved: Mapping[str, Any]) -> None:
        """Keep the bytes that the checkpoint knows; a warning says if they have changed."""
        offset, sha256 = saved.get("metrics_offset", 0), saved.get("metrics_sha256", "")
        self._file = self.path.open("ab+")
        self._file.seek(0)
        kept = self._file.read(offset)
        # Earlier versions saved no hash.
        if len(kept) < offset or (sha256 and hashlib.sha256(kept).hexdigest() != sha256):
            kept = kept[: kept.rfind(b"\n") + 1]  # half a line would join the next one
            LOG.warning(
                f"{self.path}: was changed since the checkpoint: of its {offset} bytes there are "
                f"{len(kept)} in whole lines, which are kept; others are lost"
            )
        self._hash = hashlib.sha256(kept)
        self._file.truncate(len(kept))
        self._file.seek(0, os.SEEK_END)

    def log(self, step: int, values: Mapping[str, float | None]) -> None:
        """Append one line; a number that is not finite, which JSON has none for, as null."""
        known = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in values.items()
        }
        line = json.dumps({"step": step} | known).encode() + b"\n"
        try:
            self._file.write(line)
            self._file.flush()  # people watch this file
        except OSError as error:
            raise TrainingError(not_written(self.path, error)) from error
        self._hash.update(line)

    def saved(self) -> dict[str, Any]:
        """Number of bytes, all of them on disk, and their SHA-256."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise TrainingError(not_written(self.path, error)) from error
        return {"metrics_offset": self._file.tell(), "metrics_sha256": self._hash.hexdigest()}

    def close(self) -> None:
        """Every line is written already, or was an error."""
        with contextlib.suppress(OSError):
            self._file.close()
