"""Settings beside a run: written, compared, and meaning the same from any folder."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from mixseg.config.options import IsPath
from mixseg.config.resolve import IN_EPOCHS, build_settings
from mixseg.config.schema import schema, to_flat
from mixseg.config.sections import Settings
from mixseg.config.yaml import dump_yaml


def dump_settings(settings: Settings) -> str:
    """The settings as YAML that :func:`resolve_settings` reads back to equal settings."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items()}
        return [plain(inner) for inner in value] if isinstance(value, tuple) else value

    nested: dict[str, Any] = {}
    for path, value in to_flat(settings).items():
        section, _, name = path.rpartition(".")
        (nested.setdefault(section, {}) if section else nested)[name] = plain(value)
    return dump_yaml(nested)


def changed_settings(
    old: Mapping[str, Any], new: Mapping[str, Any], free: Collection[str]
) -> list[str]:
    """Lines ``PATH: OLD -> NEW`` of what differs between settings, each given as path -> value.

    Left out are options that only one side has, which follow from the parts that it names, steps
    that follow from the epochs of ``new``, which are counted once the images are, and the paths
    in ``free``.
    """
    left_out = {*free, *(steps for steps, epochs in IN_EPOCHS.items() if new[epochs] is not None)}
    if new["stages"]:
        left_out |= {"training.iterations", "training.epochs"}
    return [
        f"{key}: {old[key]} -> {new[key]}"
        for key in new
        if key in old and old[key] != new[key] and key not in left_out
    ]


def paths_in(values: Mapping[str, Any]) -> dict[str, str]:
    """Those of setting path -> value that name a file or folder."""
    return {
        one.path: values[one.path]
        for entries in schema().values()
        for one in entries
        for mark in one.marks
        if isinstance(mark, IsPath) and values.get(one.path) not in (None, *mark.words)
    }


def with_absolute_paths(settings: Settings) -> Settings:
    """The settings with paths that mean the same from any folder, so that a run can be resumed."""

    def absolute(text: str) -> str:
        return str(Path(text).expanduser().absolute())

    values = to_flat(settings)
    values |= {key: absolute(path) for key, path in paths_in(values).items()}
    for key in ("data.labeled", "data.labeled_target", "data.val", "source_domain.labeled"):
        # A share or a number, a share of a pickled permutation, or one or two lists.
        if values.get(key) in (None, "full") or re.fullmatch(r"[-+0-9./]+", values[key]):
            continue
        files, at, size = values[key].rpartition(".pkl@")
        paths = [absolute(f"{files}.pkl")] if at else [absolute(x) for x in values[key].split(",")]
        # What is neither a number nor a path is left to be refused as it was typed; a comma in a
        # path would be taken for the one between two lists.
        listed = at or all(Path(x).suffix or "/" in x for x in values[key].split(","))
        if listed and not any("," in path for path in paths):
            values[key] = ",".join(paths) + (f"@{size}" if at else "")
    imports = [absolute(x) if "/" in x or x.endswith(".py") else x for x in values["imports"]]
    return build_settings(values | {"imports": tuple(imports)})
