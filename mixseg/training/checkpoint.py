"""Checkpoints: folders of safetensors and JSON with a manifest, complete or not there at all.

A checkpoint is written under a temporary name, flushed and renamed; only then is an older one
removed. The manifest lists the SHA-256 of every file.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from mixseg.config.effect import takes_part
from mixseg.errors import CheckpointError
from mixseg.files import flush_folder, not_written, read_bytes, read_json, write_atomically
from mixseg.registry import METHODS

FORMAT = 1
MANIFEST = "manifest.json"
MAX_TENSOR_BYTES = 2**36
"""Largest file of a checkpoint that is read; all of a network of 17 billion weights."""

TEACHER, AVERAGE = "teacher", "average"

POINTER = "latest.json"
"""Names the newest checkpoint for scripts that watch runs; a resume looks at the folders."""


@final
@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint: its folder, the content of ``state.json``, and file stem (``student``,
    ``teacher``, ``optimizer``...) -> tensors.
    """

    path: Path
    state: dict[str, Any]
    tensors: dict[str, dict[str, Tensor]]


def network_name(saved: str, method: object) -> str:
    """The name of a network that a run of a method has saved.

    Earlier versions called the student's average, from which no labels come, teacher, too.
    """
    has_average = method in METHODS and takes_part(str(method), AVERAGE)
    return AVERAGE if saved == TEACHER and has_average else saved


def write_checkpoint(
    path: Path, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]
) -> None:
    """Write tensors (file stem -> name -> tensor) and a JSON state into a checkpoint folder.

    Raises:
        CheckpointError: The disk is full or not writable. What was there before is intact.
    """
    temporary = path.with_name(f".{path.name}.partial")
    try:
        if temporary.exists():
            shutil.rmtree(temporary)  # left by a process that was killed here
        temporary.mkdir()
        contents = {
            f"{stem}.safetensors": safetensors.torch.save(
                {name: tensor.detach().cpu().contiguous() for name, tensor in named.items()}
            )
            for stem, named in tensors.items()
        }
        contents["state.json"] = json.dumps(state, indent=1).encode()
        hashes = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
        manifest = {"format": FORMAT, "sha256": hashes}
        contents[MANIFEST] = json.dumps(manifest, indent=1).encode()
        for name, data in contents.items():
            write_atomically(temporary / name, data)
        # What somebody has open may stay on network drives, under a name that is not free then.
        names = (path.with_name(f".{path.name}.{count}.replaced") for count in itertools.count())
        replaced = next(name for name in names if not name.exists())
        if path.exists():
            path.rename(replaced)
        temporary.rename(path)
        flush_folder(path.parent)
        shutil.rmtree(replaced, ignore_errors=True)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise CheckpointError(not_written(path, error)) from error


def read_checkpoint(path: Path, only: tuple[str, ...] | None = None) -> Checkpoint:
    """Read and verify a checkpoint folder, with all tensor files or those of some stems only.

    Raises:
        CheckpointError: A file is missing, truncated or altered; the message names it.
    """
    hashes = _hashes(path)
    stems = _stems(hashes)
    for stem in only or ():
        if stem not in stems:
            raise CheckpointError(f"{path} holds no {stem!r}; it has {', '.join(stems)}")
    tensors = {}
    for stem in stems if only is None else only:
        data = _verified(path / f"{stem}.safetensors", hashes)
        try:
            tensors[stem] = safetensors.torch.load(data)
        except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise CheckpointError(f"{path / stem}.safetensors: damaged: {error}") from error
    state = _verified(path / "state.json", hashes)
    return Checkpoint(path, _parsed(path / "state.json", state), tensors)


def listed_tensors(path: Path) -> tuple[str, ...]:
    """Stems of the tensor files of a checkpoint, by its manifest."""
    return _stems(_hashes(path))


def _hashes(path: Path) -> dict[str, str]:
    manifest = _parsed(path / MANIFEST, _bytes(path / MANIFEST))
    hashes = manifest.get("sha256")
    if manifest.get("format") != FORMAT or not isinstance(hashes, dict):
        raise CheckpointError(f"{path / MANIFEST}: not a manifest of format {FORMAT}")
    stems = _stems(hashes)
    # A damaged name must not pass for a file that is not there, nor lead to one elsewhere.
    if len(stems) + 1 != len(hashes) or not all(re.fullmatch(r"[\w-]+", stem) for stem in stems):
        raise CheckpointError(f"{path / MANIFEST}: damaged: lists {', '.join(hashes)}")
    return hashes


def _stems(hashes: Mapping[str, str]) -> tuple[str, ...]:
    ending = ".safetensors"
    return tuple(name.removesuffix(ending) for name in hashes if name.endswith(ending))


def _bytes(path: Path, **limit: int) -> bytes:
    try:
        return read_bytes(path, **limit)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error


def _verified(path: Path, hashes: Mapping[str, str]) -> bytes:
    data = _bytes(path, limit=MAX_TENSOR_BYTES)
    found, listed = hashlib.sha256(data).hexdigest(), str(hashes.get(path.name))
    if found != listed:
        raise CheckpointError(
            f"{path}: damaged: its SHA-256 is {found[:12]}..., the manifest says {listed[:12]}..."
        )
    return data


def _parsed(path: Path, data: bytes) -> dict[str, Any]:
    try:
        content = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: damaged: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: damaged: not a JSON object")
    return content


@final
class CheckpointStore:
    """The checkpoints of a run: which one is the latest, and which may go."""

    def __init__(self, folder: Path, keep: int = 2, keep_every: int = 0) -> None:
        """See :class:`mixseg.config.sections.CheckpointSettings` for the limits."""
        self.folder, self.keep, self.keep_every = folder, keep, keep_every

    def save(
        self, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]
    ) -> Path:
        """Write the checkpoint of a step, make it the latest, then remove what is too old."""
        path = self.folder / f"step-{step:08d}"
        write_checkpoint(path, tensors, state)
        try:
            self.settle(step)
        except OSError as error:
            raise CheckpointError(not_written(self.folder / POINTER, error)) from error
        return path

    def settle(self, step: int) -> None:
        """Make the checkpoint of a step the latest and remove what is too old.

        A resumed run does so first: the process before it may have been killed just here.
        """
        write_atomically(self.folder / POINTER, json.dumps({"name": f"step-{step:08d}"}))
        # Later steps are damaged ones that the run was resumed before: they do not count.
        steps = {old: folder for old, folder in self._steps().items() if old <= step}
        for old, folder in sorted(steps.items())[: -self.keep]:
            if not (self.keep_every and old % self.keep_every == 0):
                # What somebody has open may stay on network drives: that ends no run.
                shutil.rmtree(folder, ignore_errors=True)

    def candidates(self) -> list[Path]:
        """Complete checkpoints, the latest first."""
        steps = self._steps()
        return [steps[step] for step in sorted(steps, reverse=True)]

    def kept(self) -> list[Path]:
        """Those of :meth:`candidates` that the next one does not push out."""
        return self.candidates()[: self.keep]

    def remove_leftovers(self) -> None:
        """Remove what a process that was killed while it wrote has left; call it under the lock."""

        def put_aside(path: Path) -> tuple[int, str]:
            """Number and name of what was to be replaced; earlier versions gave no number."""
            found = re.fullmatch(r"\.(.+?)(?:\.(\d+))?\.replaced", path.name)
            return (0, "") if found is None else (int(found[2] or 0), found[1])

        for path in sorted(self.folder.glob(".*.replaced"), key=put_aside, reverse=True):
            target = self.folder / put_aside(path)[1]
            if not target.exists() and (path / MANIFEST).is_file():
                path.rename(target)
        for path in self.folder.glob(".*"):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()

    def _steps(self) -> dict[int, Path]:
        # ASCII alone: other digits pass for numbers, of which not all are integers.
        found = {
            path: re.fullmatch(r"step-([0-9]{1,18})", path.name)
            for path in self.folder.glob("step-*")
        }
        return {int(match[1]): path for path, match in found.items() if match}

    def latest(self) -> tuple[Checkpoint | None, list[str]]:
        """The latest intact checkpoint, and the reasons why newer ones were passed over.

        Raises:
            CheckpointError: There are checkpoints, but none is intact.
        """
        problems: list[str] = []
        for path in self.candidates():
            try:
                return read_checkpoint(path), problems
            except CheckpointError as error:
                problems.append(str(error))
        if problems:
            raise CheckpointError("no checkpoint is intact: " + "; ".join(problems))
        return None, []


@final
class BestNetworks:
    """The networks of the best validations, which go back with the run when it is resumed.

    ``best-NAME`` in the folder of the checkpoints, and those before it: ``best-NAME.step-N``. A
    better network takes the name, and the one before stays as long as a checkpoint is kept from
    which the run would go on without the better one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Save the weights of a network that is better than before; ``state`` has ``step``."""
        current = self.folder / f"best-{name}"
        step = _step_of(current)
        try:
            if step is not None and step != state["step"]:
                earlier = self._earlier(name, step)
                shutil.rmtree(earlier, ignore_errors=True)
                current.rename(earlier)
        except OSError as error:
            raise CheckpointError(not_written(current, error)) from error
        write_checkpoint(current, {name: tensors}, state)

    def restore(self, steps: Mapping[str, int]) -> list[str]:
        """Make those of a checkpoint (network -> step) the current ones; later ones are removed.

        Those of an average that an earlier version called teacher get its name.

        Returns:
            Names of networks that somebody has removed or that are damaged.
        """
        lost = []
        try:
            for path in list(self.folder.glob("best-*")) if AVERAGE in steps else ():
                if _name(path) == TEACHER:
                    path.rename(path.with_name(path.name.replace(TEACHER, AVERAGE, 1)))
            names = {_name(path) for path in self.folder.glob("best-*") if path.is_dir()}
            for name in sorted(names | set(steps)):
                current, step = self.folder / f"best-{name}", steps.get(name)
                if _step_of(current) != step or step is None:
                    shutil.rmtree(current, ignore_errors=True)
                    if step is not None and self._earlier(name, step).is_dir():
                        self._earlier(name, step).rename(current)
                for path in self.folder.glob(f"best-{name}.step-*"):
                    if step is None or _number(path) >= step:
                        shutil.rmtree(path, ignore_errors=True)
                if step is not None and _step_of(current) != step:
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


def _step_of(path: Path) -> int | None:
    try:
        step = read_checkpoint(path, only=()).state.get("step")
    except CheckpointError:
        return None
    return step if isinstance(step, int) else None
