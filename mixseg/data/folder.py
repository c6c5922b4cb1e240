"""Any folder of images and labels, described by a small YAML file.

.. code-block:: yaml

    names: [background, road, building]
    palette: [[0, 0, 0], [128, 64, 128], [70, 70, 70]]   # optional
    ignore: 255                                          # optional, an id or a list of ids
    id_map: {0: 0, 7: 1, 11: 2}                          # optional, id in the files: class
"""

from __future__ import annotations

import colorsys
from pathlib import Path
from typing import Any

from mixseg.data.contract import ClassSet, Sample, SegmentationDataset, lookup_table
from mixseg.data.images import read_image
from mixseg.data.masks import MaskReader
from mixseg.data.pairing import IMAGE_ENDINGS, Pairing, files_by_id, found_instead, pair_samples
from mixseg.errors import DataError, UnknownSplitError, unknown_name
from mixseg.ignore import IGNORE
from mixseg.strict_yaml import KeyPath, LoadedYaml, load_yaml

DESCRIPTION = "dataset.yaml"
"""Name of the description in the root."""

NAME_LENGTH = 200
"""Most characters of a class name: every chart, table and legend has to measure it."""

_KEYS = ("names", "palette", "ignore", "id_map")


def open_folder(root: Path, split: str, pair: Pairing = pair_samples) -> SegmentationDataset:
    """List a split of a folder data set.

    Images are ``images/SPLIT/**`` (PNG or JPEG), labels ``labels/SPLIT/**`` with the same relative
    path and the ending ``.png``: ids, or colours of the palette. A split without a folder of labels
    is unlabelled.

    Args:
        root: Folder with ``dataset.yaml``, ``images`` and ``labels``; or a YAML file of another
            name that lies there.
        split: Name of a folder in ``images``.
        pair: Gives the samples.

    Raises:
        DataError: The description is incomplete or contradicts itself (with its line), the split
            is empty, or an image has no label.
        UnknownSplitError: There is no such split.
        ConfigError: The description is not strict YAML.
    """
    description = root / DESCRIPTION if root.is_dir() else root
    root = description.parent
    if not description.is_file():
        raise DataError(
            f"{description} is missing: it names the classes, e.g. 'names: [background, road]'; "
            f"{found_instead(root)}"
        )
    loaded = load_yaml(description)
    classes, ignored, raw_to_train = _read_description(loaded)

    folder = root / "images" / split
    splits = folder_splits(root)
    if split not in splits:
        if not splits:
            raise DataError(
                f"no splits: looked for folders in {root / 'images'}, but "
                f"{found_instead(root / 'images')}"
            )
        raise UnknownSplitError(f"{root / 'images'}: {unknown_name('split', split, splits)}")
    images = files_by_id(folder, IMAGE_ENDINGS)
    if not images:
        raise DataError(
            f"split {split!r} is empty: looked for {folder}/**/*.png, *.jpg and *.jpeg, but "
            f"{found_instead(folder)}"
        )
    label_folder = root / "labels" / split
    if label_folder.is_dir():
        samples = pair(
            images,
            files_by_id(label_folder, (".png",)),
            f"{label_folder}/**/*.png; {found_instead(label_folder)}",
        )
    else:
        samples = tuple(sorted(Sample(key, path) for key, path in images.items()))
    return SegmentationDataset(
        name="folder",
        root=folder,
        split=split,
        classes=classes,
        samples=samples,
        lookup=lookup_table(raw_to_train, ignored),
        read_raw_image=read_image,
        read_raw_label=MaskReader(
            classes.label_ids or tuple(range(len(classes))),
            classes.palette if "palette" in loaded.data else (),
            description,
        ),
    )


def folder_splits(root: Path) -> tuple[str, ...]:
    """Names of the splits: the folders in ``images``; ``root`` as in :func:`open_folder`."""
    images = (root if root.is_dir() else root.parent) / "images"
    if not images.is_dir():
        return ()
    return tuple(
        sorted(p.name for p in images.iterdir() if p.is_dir() and not p.name.startswith("."))
    )


def distinct_colours(count: int) -> tuple[tuple[int, int, int], ...]:
    """One RGB colour (0-255) per class, evenly spread over the hues."""
    spread = (colorsys.hsv_to_rgb(i / count, 0.8, 1.0 - 0.3 * (i % 2)) for i in range(count))
    return tuple((round(r * 255), round(g * 255), round(b * 255)) for r, g, b in spread)


def _read_description(loaded: LoadedYaml) -> tuple[ClassSet, list[int], dict[int, int]]:
    """Classes, ignored raw ids, and raw id -> train id."""
    data = loaded.data
    for key in data:
        if key not in _KEYS:
            raise _wrong(loaded, (str(key),), unknown_name("key", key, _KEYS))
    names = data.get("names")
    if not isinstance(names, list):
        raise _wrong(loaded, ("names",), "'names' should be a list of class names")
    for index, name in enumerate(names):
        if not (isinstance(name, str) and 1 <= len(name) <= NAME_LENGTH):
            raise _wrong(
                loaded,
                ("names", index),
                f"{str(name)[:40]!r} is not a class name of 1 to {NAME_LENGTH} characters; a "
                "number, or a word such as true, is one in quotes",
            )
    if not 1 <= len(names) < IGNORE or len(set(names)) != len(names):
        raise _wrong(loaded, ("names",), "'names' should be 1 to 254 different class names")

    ignore = data.get("ignore", IGNORE)
    ignored: list[int] = ignore if isinstance(ignore, list) else [ignore]
    for value in ignored:
        if not _is_id(value, 256):
            raise _wrong(loaded, ("ignore",), f"{value!r} is not an id from 0 to 255")

    mapping = data.get("id_map", {i: i for i in range(len(names))})
    if not isinstance(mapping, dict):
        raise _wrong(loaded, ("id_map",), "'id_map' should hold lines 'id in the files: class'")
    for raw, train in mapping.items():
        where: KeyPath = ("id_map", str(raw))
        if not _is_id(raw, 256):
            raise _wrong(loaded, where, f"{raw!r} is not an id from 0 to 255")
        if not _is_id(train, len(names)):
            raise _wrong(
                loaded, where, f"{train!r} is not a class index from 0 to {len(names) - 1}"
            )
        if raw in ignored:
            line = ("id_map", str(raw)) if "id_map" in data else ("ignore",)
            remedy = (
                f"take {raw} out of 'ignore' ('ignore: []' ignores no id)"
                if "ignore" in data
                else f"{IGNORE} is ignored unless 'ignore' says otherwise; add a line 'ignore: []'"
            )
            raise _wrong(
                loaded, line, f"id {raw} is ignored and class {names[train]!r} at once: {remedy}"
            )
    without = [name for i, name in enumerate(names) if i not in mapping.values()]
    if without:
        raise _wrong(loaded, ("id_map",), f"no id is mapped to class {without[0]!r}")

    label_ids: tuple[int, ...] = ()
    if "id_map" in data:
        # Where several ids mean the same class, predictions are written with the smallest.
        label_ids = tuple(
            min(raw for raw, train in mapping.items() if train == i) for i in range(len(names))
        )
    return ClassSet(tuple(names), _read_palette(loaded, len(names)), label_ids), ignored, mapping


def _read_palette(loaded: LoadedYaml, count: int) -> tuple[tuple[int, int, int], ...]:
    palette = loaded.data.get("palette")
    if palette is None:
        return distinct_colours(count)
    if not isinstance(palette, list) or len(palette) != count:
        found = len(palette) if isinstance(palette, list) else type(palette).__name__
        raise _wrong(loaded, ("palette",), f"'palette' should hold {count} colours, found {found}")
    for index, colour in enumerate(palette):
        if not (
            isinstance(colour, list) and len(colour) == 3 and all(_is_id(c, 256) for c in colour)
        ):
            raise _wrong(
                loaded, ("palette", index), f"{colour!r} is not a colour [red, green, blue], 0-255"
            )
    return tuple((red, green, blue) for red, green, blue in palette)


def _is_id(value: Any, end: int) -> bool:
    # YAML's true and false are integers to Python.
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < end


def _wrong(loaded: LoadedYaml, key_path: KeyPath, problem: str) -> DataError:
    return DataError(f"{loaded.path}, line {loaded.line(key_path)}: {problem}")
