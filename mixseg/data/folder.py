"""Any folder of images and labels, described by a small YAML file.

.. code-block:: yaml

    names: [background, road, building]
    palette: [[0, 0, 0], [128, 64, 128], [70, 70, 70]]   # optional
    ignore: [255, [255, 255, 255]]                       # optional, ids and colors of no class
    id_map: {0: 0, 7: 1, 11: 2}                          # optional, id in the files: class
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, NoReturn, final

from mixseg.config.yaml import LoadedYaml, load_yaml
from mixseg.data.contract import ClassSet, distinct_colors, lookup_table
from mixseg.data.layout import Files, Layout
from mixseg.data.masks import IdColors, LabelReader, class_colors
from mixseg.data.names import composed
from mixseg.data.pairing import IMAGE_ENDINGS, Folder, found_instead
from mixseg.errors import DataError, UnknownSplitError, unknown_name
from mixseg.ignore import IGNORE
from mixseg.registry import LAYOUTS

DESCRIPTION = "dataset.yaml"
"""Name of the description in the root."""

NAME_LENGTH = 200
"""Most characters of a class name, which charts, tables and legends show."""

_KEYS = ("names", "palette", "ignore", "id_map")


@final
@LAYOUTS.register("folder")
class ImageFolder(Layout):
    """Images are ``images/SPLIT/**`` (PNG or JPEG), labels ``labels/SPLIT/**``.

    Labels have the same relative path and the ending ``.png``, and hold ids, or colors of the
    palette. A split without a folder of labels is unlabeled. The root is the folder that holds
    ``dataset.yaml``, ``images`` and ``labels``, or a YAML file of another name that lies there.
    """

    title = "folder"
    split_names = ()
    lists: ClassVar[tuple[str, ...]] = (DESCRIPTION,)

    def splits(self, root: Path) -> tuple[str, ...]:
        """Names of the folders in ``images``."""
        images = (root if root.is_dir() else root.parent) / "images"
        if not images.is_dir():
            return ()
        folders = (p.name for p in images.iterdir() if p.is_dir() and not p.name.startswith("."))
        return tuple(sorted(folders))

    def files(self, root: Path, split: str) -> Files:
        """List a split.

        Raises:
            DataError: The description is incomplete or contradicts itself (with its line).
            UnknownSplitError: There is no such split.
            ConfigError: The description is not strict YAML.
        """
        description = root / DESCRIPTION if root.is_dir() else root
        root = description.parent
        if not description.exists():
            raise DataError(
                f"{description} is missing: it names the classes, e.g. 'names: [background, "
                f"road]'; {found_instead(root)}"
            )
        reader = _label_reader(load_yaml(description))
        splits = self.splits(root)
        if not splits:
            raise DataError(
                f"no splits: looked for folders in {root / 'images'}, but "
                f"{found_instead(root / 'images')}"
            )
        if split not in splits:
            raise UnknownSplitError(f"{root / 'images'}: {unknown_name('split', split, splits)}")
        folder, labels = Folder(root / "images" / split), Folder(root / "labels" / split)
        return Files(
            folder=folder,
            images=folder.by_id(*IMAGE_ENDINGS),
            images_at=f"{folder.path}/**/*.png, *.jpg and *.jpeg",
            labels=labels.by_id(".png") if labels.path.is_dir() else None,
            labels_at=f"{labels.path}/**/*.png; {found_instead(labels.path)}",
            lookup=reader.lookup,
            read_label=reader,
            classes=reader.classes,
        )


def _label_reader(loaded: LoadedYaml) -> LabelReader:
    """The reader for the labels of a description; it has the classes and their ids."""
    data = loaded.data
    for key in data:
        if key not in _KEYS:
            _refuse(loaded, unknown_name("key", key, _KEYS), str(key))
    names = _names(loaded)
    palette = _palette(loaded, len(names))
    ignore = data.get("ignore", IGNORE)
    entries: list[Any] = ignore if isinstance(ignore, list) else [ignore]
    for value in entries:
        if not _is_id(value, 256) and not _is_color(value):
            problem = (
                f"{value!r} is neither an id from 0 to 255 nor a color [red, green, blue] in "
                "brackets of its own, as in 'ignore: [[0, 0, 0], 255]'"
            )
            _refuse(loaded, problem, "ignore")
    ignored = [value for value in entries if not isinstance(value, list)]
    colors = [(red, green, blue) for red, green, blue in filter(_is_color, entries)]
    mapping = _id_map(loaded, names, ignored)
    label_ids: tuple[int, ...] = ()
    if "id_map" in data:
        # Where several ids mean the same class, predictions are written with the smallest.
        label_ids = tuple(
            min(raw for raw, train in mapping.items() if train == i) for i in range(len(names))
        )
    classes = ClassSet(names, palette or distinct_colors(len(names)), label_ids)
    for color in colors:
        if not palette:
            _refuse(loaded, "colors in 'ignore' need those of the classes: 'palette'", "ignore")
        if color in palette:
            name = names[palette.index(color)]
            _refuse(loaded, f"{[*color]} is the color of class {name!r} as well", "ignore")
    if colors and not ignored:
        # An id of no class stands for the colors: 255 where it is free, as without 'ignore'.
        free = next((raw for raw in reversed(range(256)) if raw not in mapping), None)
        if free is None:
            _refuse(loaded, "every id is mapped; colors in 'ignore' need one", "id_map")
        ignored = [free]
    shown: IdColors = ()
    if palette:
        shown = (*class_colors(classes), *((ignored[0], color) for color in colors))
    source = f"'palette' and 'ignore' in {loaded.path}" if colors else f"'palette' in {loaded.path}"
    lookup = lookup_table(mapping, ignored)
    return LabelReader(classes, lookup, shown, source, loaded.path, tuple(entries))


def _names(loaded: LoadedYaml) -> tuple[str, ...]:
    names = loaded.data.get("names")
    if not isinstance(names, list):
        _refuse(loaded, "'names' should be a list of class names", "names")
    for index, name in enumerate(names):
        if not (isinstance(name, str) and 1 <= len(name) <= NAME_LENGTH):
            problem = (
                f"{str(name)[:40]!r} is not a class name of 1 to {NAME_LENGTH} characters; a "
                "number, or a word such as true, is one in quotes"
            )
            _refuse(loaded, problem, "names", index)
    found = tuple(composed(name) for name in names)
    if not 1 <= len(found) < IGNORE or len(set(found)) != len(found):
        _refuse(loaded, "'names' should be 1 to 254 different class names", "names")
    return found


def _id_map(loaded: LoadedYaml, names: tuple[str, ...], ignored: list[int]) -> dict[int, int]:
    """Id in the files -> class index."""
    data = loaded.data
    mapping = data.get("id_map", {i: i for i in range(len(names))})
    if not isinstance(mapping, dict):
        _refuse(loaded, "'id_map' should hold lines 'id in the files: class'", "id_map")
    for raw, train in mapping.items():
        where = ("id_map", str(raw))
        if not _is_id(raw, 256):
            _refuse(loaded, f"{raw!r} is not an id from 0 to 255", *where)
        if not _is_id(train, len(names)):
            problem = f"{train!r} is not a class index from 0 to {len(names) - 1}"
            _refuse(loaded, problem, *where)
        if raw in ignored:
            remedy = (
                "for the color write its three numbers in brackets of their own, "
                f"'ignore: [{ignored}]'"
                if len(ignored) == 3
                else f"take {raw} out of 'ignore' ('ignore: []' ignores no id)"
                if "ignore" in data
                else f"{IGNORE} is ignored unless 'ignore' says otherwise; add a line 'ignore: []'"
            )
            problem = f"id {raw} is ignored and class {names[train]!r} at once: {remedy}"
            _refuse(loaded, problem, *(where if "id_map" in data else ("ignore",)))
    without = [name for i, name in enumerate(names) if i not in mapping.values()]
    if without:
        _refuse(loaded, f"no id is mapped to class {without[0]!r}", "id_map")
    return mapping


def _palette(loaded: LoadedYaml, count: int) -> tuple[tuple[int, int, int], ...]:
    """One color per class; empty where the description names none."""
    palette = loaded.data.get("palette")
    if palette is None:
        return ()
    if not isinstance(palette, list) or len(palette) != count:
        found = len(palette) if isinstance(palette, list) else type(palette).__name__
        problem = f"'palette' should hold {count} colors, one for each of 'names', found {found}"
        if isinstance(palette, list) and len(palette) > count:
            problem += "; a color of no class goes into 'ignore', as in 'ignore: [[0, 0, 0], 255]'"
        _refuse(loaded, problem, "palette")
    for index, color in enumerate(palette):
        if not _is_color(color):
            problem = f"{color!r} is not a color [red, green, blue], 0-255"
            _refuse(loaded, problem, "palette", index)
    return tuple((red, green, blue) for red, green, blue in palette)


def _is_id(value: Any, end: int) -> bool:
    # YAML's true and false are integers to Python.
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < end


def _is_color(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(_is_id(c, 256) for c in value)


def _refuse(loaded: LoadedYaml, problem: str, *key_path: str | int) -> NoReturn:
    raise DataError(f"{loaded.path}, line {loaded.line(key_path)}: {problem}")
