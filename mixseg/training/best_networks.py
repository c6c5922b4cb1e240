"""The networks of the best validations, which go back with the run when it is resumed."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from torch import Tensor

from mixseg.errors import CheckpointError
from mixseg.files import flush_folder, not_written, read_json
from mixseg.training.checkpoint import AVERAGE, TEACHER, read_checkpoint, write_checkpoint


@final
class BestNetworks:
    """``best-NAME`` in the folder of the checkpoints, and the ones before: ``best-NAME.step-N``.

    A better network takes the name, and the one before stays as long as a checkpoint is kept from
    which the run would go on without the better one.
    """

    def __init__(self, folder: Path) -> None:
        """Use the folder of a run's checkpoints."""
        self.folder = folder

    def write(self, name: str, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Save the weights of a network that is better than the one before.

        Args:
            name: Of the network.
            tensors: Its weights.
            state: Metadata with ``step``.

        Raises:
            CheckpointError: The disk is full or not writable.
        """
        current = self.folder / f"best-{name}"
        step = _step(current)
        try:
            if step is not None and step != state["step"]:
                earlier = self._earlier(name, step)
                shutil.rmtree(earlier, ignore_errors=True)
                current.rename(earlier)
        except OSError as error:
            raise CheckpointError(not_written(current, error)) from error
        write_checkpoint(current, {name: tensors}, state)

    def restore(self, steps: Mapping[str, int]) -> list[str]:
        """Make those of a checkpoint the current ones; what came after it goes.

        Those of an average that an earlier version called teacher get its name.

        Args:
            steps: Network -> step of its best validation, by the checkpoint.

        Returns:
            Names of networks that somebody has removed or that are damaged.

        Raises:
            CheckpointError: The folder cannot be written to.
        """
        lost = []
        try:
            for path in list(self.folder.glob("best-*")) if AVERAGE in steps else ():
                if _name(path) == TEACHER:
                    path.rename(path.with_name(path.name.replace(TEACHER, AVERAGE, 1)))
            names = {_name(path) for path in self.folder.glob("best-*") if path.is_dir()}
            for name in sorted(names | set(steps)):
                current, step = self.folder / f"best-{name}", steps.get(name)
                if _step(current) != step or step is None:
                    shutil.rmtree(current, ignore_errors=True)
                    if step is not None and self._earlier(name, step).is_dir():
                        self._earlier(name, step).rename(current)
                for path in self.folder.glob(f"best-{name}.step-*"):
                    if step is None or _number(path) >= step:
                        shutil.rmtree(path, ignore_errors=True)
                if step is not None and _step(current) != step:
                    lost.append(name)
            flush_folder(self.folder)
        except OSError as error:
            raise CheckpointError(not_written(self.folder, error)) from error
        return lost

    def prune(self, checkpoints: list[Path]) -> None:
        """Remove those that none of these checkpoints would go back to."""
        needed = set()
        for path in checkpoints:
            try:
                best = read_json(path / "state.json")["best"]
                needed |= {(name, step) for name, (step, _) in best.items()}
                needed |= {(AVERAGE, step) for name, (step, _) in best.items() if name == TEACHER}
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                continue  # one that is damaged is not gone on with
        for path in self.folder.glob("best-*.step-*"):
            if (_name(path), _number(path)) not in needed:
                shutil.rmtree(path, ignore_errors=True)

    def _earlier(self, name: str, step: int) -> Path:
        return self.folder / f"best-{name}.step-{step:08d}"


def _name(path: Path) -> str:
    return re.sub(r"\.step-[0-9]+$", "", path.name).removeprefix("best-")


def _number(path: Path) -> int:
    found = re.search(r"\.step-([0-9]{1,18})$", path.name)
    return -1 if found is None else int(found[1])


def _step(path: Path) -> int | None:
    """Step of a saved network; None if there is none that is intact."""
    try:
        step = read_checkpoint(path, only=()).state.get("step")
    except CheckpointError:
        return None
    return step if isinstance(step, int) else None
