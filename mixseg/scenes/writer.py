"""Writes sets of demo scenes, whole or not at all."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Final

from mixseg.errors import DataError, unknown_name
from mixseg.files import FolderLock, default_cache
from mixseg.scenes.layouts import LAYOUTS
from mixseg.scenes.looks import Look
from mixseg.scenes.scene import render_scene

GENERATOR_VERSION: Final = 1
"""Raised whenever the same arguments draw different scenes, so that caches are not reused."""

_FIRST_SCENES: Final = {"train": 0, "val": 1_000_000}
"""Number of the first scene of each split, so that splits share none."""

_YOUNG: Final = 60
"""Seconds in which a new draft is left alone."""

Progress = Callable[[int, int], None]
"""Called with the number of scenes written so far and the number of all scenes."""


def write_demo(
    out: Path,
    *,
    look: Look,
    counts: Mapping[str, int],
    size: tuple[int, int],
    seed: int = 0,
    layout: str = "cityscapes",
    progress: Progress | None = None,
) -> Path:
    """Write a demo set in the layout of a real data set, and return ``out``.

    The files go to a temporary folder beside ``out`` that is renamed at the end: whoever sees
    ``out`` sees all of it.

    Args:
        out: Folder to make.
        look: ``"camera"`` or ``"render"``.
        counts: Number of scenes per split, ``"train"`` and ``"val"``.
        size: Height and width in pixels.
        seed: Seed of the set.
        layout: Key of :data:`mixseg.scenes.layouts.LAYOUTS`.
        progress: Called after every scene with the scenes done and the scenes in all.

    Raises:
        DataError: ``out`` exists, the layout is unknown, ``counts`` holds a split that it does
            not have or a count below 1, or look or size are none that a scene can have.
    """
    _check_counts(counts, layout)
    if out.exists():
        raise DataError(f"{out} already exists; choose another folder or remove it first")
    out.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(out.parent, f".{out.name}.")
    draft = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, draft, ignore_errors=True)
        with suppress(BlockingIOError):  # another process is looking whether it is a leftover
            stack.enter_context(closing(FolderLock(draft)))
        # mkdtemp makes the folder private; a data set may be read by others.
        draft.chmod(0o755)
        done = 0
        for split, count in counts.items():
            for number in range(count):
                image, label = render_scene(seed, _FIRST_SCENES[split] + number, size, look)
                LAYOUTS[layout].write(draft, split, number, image, label)
                done += 1
                if progress is not None:
                    progress(done, sum(counts.values()))
        about = {
            "layout": layout,
            "look": look,
            "counts": dict(counts),
            "size": list(size),
            "seed": seed,
            "generator_version": GENERATOR_VERSION,
        }
        (draft / "demo.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        try:
            draft.rename(out)
        except OSError as error:
            if out.exists():
                raise DataError(f"{out} was made by someone else meanwhile") from error
            raise
    return out


def ensure_demo(
    *,
    look: Look = "camera",
    counts: Mapping[str, int],
    size: tuple[int, int],
    seed: int = 0,
    layout: str = "cityscapes",
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """The folder of a demo set in the cache, which is written on first use.

    Two processes may ask at once: both write, one renames first, and both get its folder.
    Arguments and errors are those of :func:`write_demo`; ``cache`` holds the sets and is
    ``$MIXSEG_CACHE`` where it is None, or ``mixseg`` in the user's cache folder.
    """
    _check_counts(counts, layout)
    splits = "_".join(f"{split}{counts[split]}" for split in sorted(counts))
    kind = "demo" if layout == "cityscapes" else f"demo-{layout}"
    name = f"{kind}-{look}-{splits}-{size[0]}x{size[1]}-seed{seed}-v{GENERATOR_VERSION}"
    out = (default_cache() if cache is None else cache) / name
    _remove_leftovers(out.parent, ".demo")
    if out.is_dir():
        return out
    try:
        return write_demo(
            out, look=look, counts=counts, size=size, seed=seed, layout=layout, progress=progress
        )
    except DataError:
        if out.is_dir():
            return out
        raise


def _remove_leftovers(folder: Path, prefix: str) -> None:
    """Remove drafts whose process was killed: nobody has them locked."""
    for draft in folder.glob(".*.partial"):
        if not draft.name.startswith(prefix):
            continue
        # Somebody may draw in it, or have finished and renamed it.
        with suppress(OSError), closing(FolderLock(draft)) as lock:
            # One that is younger may have been made a moment ago and be locked in the next.
            if lock.held and time.time() - draft.stat().st_mtime > _YOUNG:
                shutil.rmtree(draft, ignore_errors=True)


def _check_counts(counts: Mapping[str, int], layout: str) -> None:
    if layout not in LAYOUTS:
        raise DataError(unknown_name("layout", layout, LAYOUTS))
    splits = LAYOUTS[layout].splits
    for split, count in counts.items():
        if split not in splits:
            raise DataError(f"unknown split {split!r} of the demo; it has {', '.join(splits)}")
        if count < 1:
            raise DataError(f"split {split!r} of the demo needs at least 1 scene, got {count}")
    if not counts:
        raise DataError(f"a demo needs a number of scenes for {' or '.join(splits)}; got none")
