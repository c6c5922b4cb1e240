"""Writing a copy with several processes; who is interrupted goes on."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import final

from torch.utils.data import DataLoader, Dataset

from mixseg.data.check import Problem
from mixseg.data.loading import POLL, loaded, start_worker
from mixseg.data.prepared_copy.files import FileCopy, file_copies
from mixseg.data.prepared_copy.manifest import (
    MANIFEST,
    CopiedFile,
    Manifest,
    Origin,
    Stamp,
)
from mixseg.data.prepared_copy.output import unfinished_name
from mixseg.data.prepared_copy.plan import Original, Plan
from mixseg.errors import ConfigError, DataError
from mixseg.files import FolderLock, read_bytes, write_atomically

_MANIFEST_SHARE = 0.05
"""Most of the time that goes into writing the manifest while files are written."""


@final
@dataclass(frozen=True)
class Outcome:
    """What became of an original, or of all.

    Attributes:
        files: Path in the copy -> what lies there.
        problems: What is wrong with the originals.
        written: How many files were written; the others were there.
    """

    files: Mapping[str, CopiedFile]
    problems: tuple[Problem, ...]
    written: int


def prepare(
    plan: Plan,
    output: Path,
    earlier: Manifest,
    *,
    jobs: int,
    keep_bad: bool,
    progress: Callable[[int, int], None],
) -> Outcome:
    """Write the copy; files that are there and intact are kept, those no longer needed removed.

    An interrupted copy goes on where it was. A file of the copy is whole or absent at any time.

    Args:
        plan: What to write.
        output: Where to; made if it is not there.
        earlier: What is there, from :func:`check_output`.
        jobs: Processes; 1 works in this one.
        keep_bad: Whether images and labels that are damaged or do not fit each other are copied as
            they are, so that splits stay the same and a run skips them; else they are left out.
        progress: Called with the number of finished images and of all.

    Raises:
        ConfigError: Another process is writing to this folder.
        DataError: A file cannot be written.
        TrainingError: A process died.
    """
    output.mkdir(parents=True, exist_ok=True)
    with closing(_locked(output)):
        return _write(plan, output, earlier, jobs, keep_bad, progress)


def _locked(folder: Path) -> FolderLock:
    """Two processes at once would each remove what the other has not finished."""
    try:
        return FolderLock(folder)
    except BlockingIOError as error:
        raise ConfigError(f"--output {folder}: another process is writing this copy") from error


def _write(
    plan: Plan,
    output: Path,
    earlier: Manifest,
    jobs: int,
    keep_bad: bool,
    progress: Callable[[int, int], None],
) -> Outcome:
    notebook = _Notebook(output / MANIFEST, plan.origin, dict(earlier.files))
    notebook.write()
    _remove_unfinished(output, (*plan.lists, *(t for one in plan.originals for t in one.targets)))
    files: dict[str, CopiedFile] = {}
    problems: list[Problem] = []
    written = 0
    try:
        for done, outcome in enumerate(_outcomes(plan, output, earlier, jobs, keep_bad), start=1):
            files |= outcome.files
            problems += outcome.problems
            written += outcome.written
            notebook.add(outcome.files)
            progress(min(done, len(plan.originals)), len(plan.originals))
    finally:
        notebook.write()
    _remove(output, set(notebook.files) - set(files))
    notebook.files = files
    notebook.write()
    return Outcome(files, tuple(problems), written)


@final
class _Notebook:
    """The manifest while it grows."""

    def __init__(self, path: Path, origin: Origin, files: dict[str, CopiedFile]) -> None:
        self.path = path
        self.origin = origin
        self.files = files
        self._next = 0.0

    def add(self, files: Mapping[str, CopiedFile]) -> None:
        """Note files that were written; the longer writing it takes, the more of them wait."""
        self.files |= files
        if time.monotonic() >= self._next:
            self.write()

    def write(self) -> None:
        begun = time.monotonic()
        write_atomically(self.path, Manifest(self.origin, self.files).to_json())
        now = time.monotonic()
        self._next = now + (now - begun) / _MANIFEST_SHARE


def _remove_unfinished(output: Path, targets: Iterable[str]) -> None:
    """Remove what a killed process left of these files and of the manifest."""
    names: dict[Path, set[str]] = {output: {MANIFEST}}
    for target in targets:
        path = output / target
        names.setdefault(path.parent, set()).add(path.name)
    for folder, expected in names.items():
        for path in folder.glob(".*"):
            if unfinished_name(path) in expected:
                path.unlink(missing_ok=True)


def _remove(output: Path, names: Iterable[str]) -> None:
    for name in sorted(names):
        path = output / name
        path.unlink(missing_ok=True)
        for folder in path.parents:
            if folder == output or not folder.is_dir() or any(folder.iterdir()):
                break
            folder.rmdir()


def _outcomes(
    plan: Plan, output: Path, earlier: Manifest, jobs: int, keep_bad: bool
) -> Iterator[Outcome]:
    """The outcome of each original in order, then that of the lists."""
    loader = DataLoader(
        _Originals(plan, output, earlier, keep_bad),
        batch_size=None,
        num_workers=jobs if jobs > 1 else 0,
        timeout=POLL if jobs > 1 else 0,
        worker_init_fn=start_worker,
    )
    for outcome in loaded(loader, f"preparing {plan.base}", fewer="--jobs"):
        if isinstance(outcome, DataError):
            raise outcome
        yield outcome


@final
class _Originals(Dataset[Outcome | DataError]):
    """Position -> what became of that original, which is copied on the way.

    An error of writing is returned and not raised: raised in a worker, it would arrive with the
    worker's traceback as its message.
    """

    def __init__(self, plan: Plan, output: Path, earlier: Manifest, keep_bad: bool) -> None:
        self.plan = plan
        self.output = output
        self.earlier = earlier
        self.keep_bad = keep_bad

    def __len__(self) -> int:
        return len(self.plan.originals) + 1

    def __getitem__(self, position: int) -> Outcome | DataError:
        try:
            if position == len(self.plan.originals):
                return self._copied_lists()
            return self._copied(self.plan.originals[position])
        except OSError as error:
            return DataError(f"{error.filename or self.output}: {error.strerror or error}")

    def _copied(self, original: Original) -> Outcome:
        there = {name: self._intact(name, original) for name in original.targets}
        kept = {name: file for name, file in there.items() if file is not None}
        if len(kept) == len(there):
            return Outcome(kept, (), 0)
        stamps = {path: _stamp(path) for path in original.targets.values()}
        copies, problems = file_copies(original, self.plan.origin)
        if problems:
            copies = self._as_they_are(original) if self.keep_bad else {}
        text = " ".join(problem.message for problem in problems)
        files = {}
        for name, copy in copies.items():
            path = original.targets[name]
            stamp = stamps[path]
            if stamp is None:  # was not there before it was read
                continue
            files[name] = self._written(name, path, stamp, copy, text)
        return Outcome(files, tuple(problems), len(files))

    def _intact(self, name: str, original: Original) -> CopiedFile | None:
        file = self.earlier.files.get(name)
        if file is None or file.problem or file.size != (original.size or file.source_size):
            return None
        return file if file.is_intact(self.output / name, original.targets[name]) else None

    def _as_they_are(self, original: Original) -> dict[str, FileCopy]:
        """The bytes of all files, or of none where the system does not give one of them."""
        try:
            return {
                name: FileCopy(read_bytes(path), None, None)
                for name, path in original.targets.items()
            }
        except OSError:
            return {}

    def _copied_lists(self) -> Outcome:
        files: dict[str, CopiedFile] = {}
        written = 0
        for name, path in self.plan.lists.items():
            file = self.earlier.files.get(name)
            if file is None or not file.is_intact(self.output / name, path):
                copy = FileCopy(read_bytes(path), None, None)
                file = self._written(name, path, Stamp.of(path), copy)
                written += 1
            files[name] = file
        return Outcome(files, (), written)

    def _written(
        self, name: str, source: Path, stamp: Stamp, copy: FileCopy, problem: str = ""
    ) -> CopiedFile:
        target = self.output / name
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, copy.content)
        return CopiedFile(
            source=Path(os.path.relpath(source, self.plan.base)).as_posix(),
            stamp=stamp,
            source_size=copy.source_size,
            size=copy.size,
            bytes=len(copy.content),
            sha256=hashlib.sha256(copy.content).hexdigest(),
            problem=problem,
        )


def _stamp(path: Path) -> Stamp | None:
    try:
        return Stamp.of(path)
    except OSError:
        return None
