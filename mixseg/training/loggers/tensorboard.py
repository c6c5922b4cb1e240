"""``tensorboard/``: curves, written by a thread of TensorBoard."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, final

from mixseg.errors import ConfigError, TrainingError
from mixseg.files import not_written
from mixseg.registry import LOGGERS
from mixseg.training.loggers.logger import Logger

LOG = logging.getLogger("mixseg")


@LOGGERS.register("tensorboard")
@final
class TensorBoard(Logger):
    """A curve for each value."""

    def __init__(self, folder: Path) -> None:
        if find_spec("tensorboard") is None:
            raise ConfigError(
                "training.loggers: tensorboard is missing; pip install 'mixseg[tensorboard]'"
            )
        self.path = folder / "tensorboard"

    def begin(self, step: int, saved: Mapping[str, Any]) -> None:
        """Points from the step on are dropped."""
        from torch.utils.tensorboard import SummaryWriter

        self._hook = threading.excepthook
        threading.excepthook = self._unless_known
        with self._explained():
            self._writer = SummaryWriter(str(self.path), purge_step=step)

    def log(self, step: int, values: Mapping[str, float | None]) -> None:
        """Add a point to each curve; the thread may notice a full disk some steps later."""
        with self._explained():
            for name, value in values.items():
                if value is not None:
                    self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is left; no run ends because it does not fit."""
        try:
            with self._explained():
                self._writer.close()
        except TrainingError as error:
            LOG.warning(f"warning: {error}")
        threading.excepthook = self._hook

    def _unless_known(self, arguments: threading.ExceptHookArgs) -> None:
        # The thread keeps its error and raises it in the next call, which explains it.
        if "tensorboard" not in type(arguments.thread).__module__:
            self._hook(arguments)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TrainingError(not_written(self.path, error)) from error
