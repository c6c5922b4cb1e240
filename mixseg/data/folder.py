"""Any folder of images and labels, described by a small YAML file.

.. code-block:: yaml

    names: [background, road, building]
    palette: [[0, 0, 0], [128, 64, 128], [70, 70, 70]]   # optional
    ignore: [255, [255, 255, 255]]                       # optional, ids and colors of no class
    id_map: {0: 0, 7: 1, 11: 2}                          # optional, id in the files: class
"""

from __future__ import annotations

import colorsys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixseg.data.contract import ClassSet, Sample, SegmentationDataset, lookup_table
from mixseg.data.images import read_image
from mixseg.data.masks import IdColors, LabelReader, class_colors
from mixseg.data.names import composed
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
    if not description.exists():
        raise DataError(
            f"{description} is missing: it names the classes, e.g. 'names: [background, road]'; "
            f"{found_instead(root)}"
        )
    loaded = load_yaml(description)
    classes, lookup, read_label = _read_description(loaded)

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
    expected = f"{label_folder}/**/*.png; {found_instead(label_folder)}"
    if label_folder.is_dir():
        samples = pair(images, files_by_id(label_folder, (".png",)), expected)
    else:
        samples = tuple(sorted(Sample(key, path) for key, path in images.items()))
    return SegmentationDataset(
        name="folder",
        root=folder,
        split=split,
        classes=classes,
        samples=samples,
        lookup=lookup,
        read_raw_image=read_image,
        read_raw_label=read_label,
        looked_for=expected,
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


def _read_description(loaded: LoadedYaml) -> tuple[ClassSet, NDArray[np.int16], LabelReader]:
    """Classes, the table raw id -> train id, and what reads labels as raw ids."""
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
    names = [composed(name) for name in names]
    if not 1 <= len(names) < IGNORE or len(set(names)) != len(names):
        raise _wrong(loaded, ("names",), "'names' should be 1 to 254 different class names")

    ignore = data.get("ignore", IGNORE)
    entries: list[Any] = ignore if isinstance(ignore, list) else [ignore]
    for value in entries:
        if not _is_id(value, 256) and not _is_color(value):
            raise _wrong(
                loaded,
                ("ignore",),
                f"{value!r} is neither an id from 0 to 255 nor a color [red, green, blue] in "
                "brackets of its own, as in 'ignore: [[0, 0, 0], 255]'",
            )
    ignored = [value for value in entries if not isinstance(value, list)]
    colors = [value for value in entries if isinstance(value, list)]

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
                "for the color write its three numbers in brackets of their own, "
                f"'ignore: [{ignored}]'"
                if len(ignored) == 3
                else f"take {raw} out of 'ignore' ('ignore: []' ignores no id)"
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
    classes = ClassSet(tuple(names), _read_palette(loaded, len(names)), label_ids)
    for red, green, blue in colors:
        if "palette" not in data:
            raise _wrong(
                loaded,
                ("ignore",),
                "a color in 'ignore' needs the colors of the classes: 'palette'",
            )
        if (red, green, blue) in classes.palette:
            name = names[classes.palette.index((red, green, blue))]
            raise _wrong(
                loaded, ("ignore",), f"{[red, green, blue]} is the color of class {name!r} as well"
            )
    if colors and not ignored:
        # What no id of a class is stands for the colors: 255 where it is free, as without 'ignore'.
        free = next((raw for raw in reversed(range(256)) if raw not in mapping), None)
        if free is None:
            raise _wrong(loaded, ("id_map",), "every id is mapped; colors in 'ignore' need one")
        ignored = [free]
    lookup = lookup_table(mapping, ignored)
    shown: IdColors = ()
    if "palette" in data:
        void = tuple((ignored[0], (red, green, blue)) for red, green, blue in colors)
        shown = (*class_colors(classes), *void)
    source = f"'palette' and 'ignore' in {loaded.path}" if colors else f"'palette' in {loaded.path}"
    return classes, lookup, LabelReader(classes, lookup, shown, source, loaded.path, tuple(entries))


def _read_palette(loaded: LoadedYaml, count: int) -> tuple[tuple[int, int, int], ...]:
    palette = loaded.data.get("palette")
    if palette is None:
        return distinct_colours(count)
    if not isinstance(palette, list) or len(palette) != count:
        found = len(palette) if isinstance(palette, list) else type(palette).__name__
        problem = f"'palette' should hold {count} colors, one for each of 'names', found {found}"
        if isinstance(palette, list) and len(palette) > count:
            problem += "; a color of no class goes into 'ignore', as in 'ignore: [[0, 0, 0], 255]'"
        raise _wrong(loaded, ("palette",), problem)
    for index, colour in enumerate(palette):
        if not _is_color(colour):
            raise _wrong(
                loaded, ("palette", index), f"{colour!r} is not a colour [red, green, blue], 0-255"
            )
    return tuple((red, green, blue) for red, green, blue in palette)


def _is_id(value: Any, end: int) -> bool:
    # YAML's true and false are integers to Python.
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < end


def _is_color(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(_is_id(c, 256) for c in value)


def _wrong(loaded: LoadedYaml, key_path: KeyPath, problem: str) -> DataError:
    return DataError(f"{loaded.path}, line {loaded.line(key_path)}: {problem}")
