"""Where a copy goes: a new folder, or one that holds a part of the same copy."""

from __future__ import annotations

import re
from pathlib import Path

from mixseg.data.prepared_copy.manifest import (
    MANIFEST,
    Manifest,
    Origin,
    read_manifest,
)
from mixseg.data.prepared_copy.plan import Plan
from mixseg.errors import ConfigError


def check_output(plan: Plan, output: Path) -> Manifest:
    """What a folder holds already; an empty manifest for a new one.

    Args:
        plan: What it is to hold.
        output: Folder of the copy.

    Raises:
        ConfigError: The folder lies in the data, holds other files, or a copy of another origin.
        DataError: Its manifest is damaged.
    """
    there = output.resolve()
    folders = {path.parent for one in plan.originals for path in one.targets.values()}
    for folder in (plan.base, *sorted(folders)):
        if there.is_relative_to(folder.resolve()):
            raise ConfigError(
                f"--output {output}: lies in the data set ({folder}), where its loader would find "
                "the copy; give a folder outside of it"
            )
    if output.exists() and not output.is_dir():
        raise ConfigError(f"--output {output}: is not a folder")
    manifest = read_manifest(output)
    if manifest is None:
        files = output.iterdir() if output.is_dir() else ()
        if any(unfinished_name(path) != MANIFEST for path in files):
            raise ConfigError(
                f"--output {output}: holds files, but no {MANIFEST}; give a new or empty folder"
            )
        return Manifest(plan.origin, {})
    found, wanted = manifest.origin, plan.origin
    if found != wanted:
        raise ConfigError(
            f"--output {output}: holds a copy of {_described(found)}, not of "
            f"{_described(wanted)}; give another folder"
        )
    return manifest


def _described(origin: Origin) -> str:
    height, width = origin.size
    return (
        f"{origin.dataset} in {origin.root} at {height}x{width} with compression "
        f"{origin.compression}, resized {origin.interpolation}"
    )


def unfinished_name(path: Path) -> str | None:
    """The file that a temporary one was to become when its process was killed."""
    found = re.fullmatch(r"\.(.+)\.[0-9a-f]{8}", path.name)
    return found and found[1]
