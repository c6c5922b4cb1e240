"""Maps from the classes of one data set to those of another.

A map has, for each class of the one set, a class of the other or ``ignore``. Several classes may
become one; a class cannot be split. Layouts bring the built-in maps.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from mixseg.config.yaml import dump_yaml
from mixseg.data.contract import UNKNOWN, ClassSet, SegmentationDataset
from mixseg.data.layout import IGNORED, classes_of, layout_of
from mixseg.data.names import composed, read_by_class
from mixseg.errors import DataError, unknown_name
from mixseg.ignore import IGNORE
from mixseg.registry import LAYOUTS


@final
@dataclasses.dataclass(frozen=True)
class ClassMap:
    """The target class of each class of a source."""

    source: ClassSet
    target: ClassSet
    targets: tuple[str, ...]  # a target class, or "ignore", for each source class in order

    def describe(self, absent: tuple[str, ...] = ()) -> list[str]:
        """Lines to print: :meth:`changes`, and target classes without source classes.

        ``absent`` are source classes that do not occur.
        """
        missing = self.without_source(absent)
        return [*self.changes(), *([f"never labeled: {', '.join(missing)}"] if missing else [])]

    def changes(self) -> list[str]:
        """Lines to print: classes that are joined or renamed, and classes that are ignored."""
        lines = [f"{' + '.join(names)} -> {name}" for name, names in self.renamed().items()]
        if self.dropped():
            lines.append(f"ignored: {', '.join(self.dropped())}")
        return lines

    def renamed(self) -> dict[str, list[str]]:
        """Target class -> its source classes, where they are several or have another name."""
        pairs = {name: self._sources(name) for name in self.target.names}
        return {name: sources for name, sources in pairs.items() if sources not in ([], [name])}

    def dropped(self) -> list[str]:
        """Source classes that become no class."""
        return [] if IGNORED in self.target.names else self._sources(IGNORED)

    def without_source(self, absent: tuple[str, ...] = ()) -> list[str]:
        """Target classes that no source class becomes, except ``absent`` ones."""
        return [name for name in self.target.names if not set(self._sources(name)) - set(absent)]

    def table(self) -> NDArray[np.uint8]:
        """Train id of the source -> train id of the target, 255 = ignore; uint8, shape (256,)."""
        # A class with the name "ignore" comes first.
        places = {IGNORED: IGNORE} | {name: index for index, name in enumerate(self.target.names)}
        table = np.full(256, IGNORE, dtype=np.uint8)
        table[: len(self.targets)] = [places[name] for name in self.targets]
        return table

    def _sources(self, target: str) -> list[str]:
        pairs = zip(self.source.names, self.targets, strict=True)
        return [old for old, new in pairs if new == target]

    def to_yaml(self) -> str:
        """The map as a file that :func:`class_map` reads."""
        return dump_yaml(dict(zip(self.source.names, self.targets, strict=True)))

    def apply(self, dataset: SegmentationDataset) -> SegmentationDataset:
        """The data set with labels of the target classes.

        Raises:
            DataError: The data set has other classes than the map's source.
        """
        if dataset.classes.names != self.source.names:
            raise DataError(
                f"{dataset.name} has the classes {', '.join(dataset.classes.names)}; the map "
                f"begins at {', '.join(self.source.names)}"
            )
        known = dataset.lookup != UNKNOWN
        table = self.table().astype(np.int16)  # has room for UNKNOWN
        lookup = np.where(known, table[np.where(known, dataset.lookup, IGNORE)], UNKNOWN)
        return dataclasses.replace(
            dataset, classes=self.target, lookup=lookup.astype(np.int16), absent=()
        )


def class_map(source: ClassSet, target: ClassSet, file: Path | None = None) -> ClassMap:
    """The map of a file, or the built-in one between two sets.

    The file is YAML with a line ``SOURCE CLASS: TARGET CLASS`` (or ``ignore``) for each class.

    Raises:
        DataError: A class is unknown or missing in the file, or no map is built in.
        ConfigError: The file is not strict YAML.
    """
    if file is not None:
        return ClassMap(source, target, _read(file, source, target))
    known = built_in_map(source, target)
    if known is not None:
        return known
    raise DataError(
        f"no class map is built in from {', '.join(source.names)} to {', '.join(target.names)}; "
        "give one with --set source_domain.class_map=FILE, a YAML file with a line "
        "'SOURCE CLASS: TARGET CLASS' (or ignore) for each"
    )


def built_in_map(source: ClassSet, target: ClassSet) -> ClassMap | None:
    """The built-in map between two sets; None if there is none.

    Sets are told apart by their names, so a map of Cityscapes serves BDD100K, GTA5, SYNTHIA and the
    demo, too.
    """
    if source.names == target.names:
        return ClassMap(source, target, source.names)
    for layout in map(layout_of, LAYOUTS):
        ends = ((layout.maps_to, source, target), (layout.maps_from, target, source))
        for maps, own, other in ends:
            if layout.classes is None or layout.classes.names != own.names:
                continue
            for name, pairs in maps.items():
                there = classes_of(name)
                if there is not None and there.names == other.names:
                    return ClassMap(source, target, tuple(pairs[name] for name in source.names))
    return None


def _read(file: Path, source: ClassSet, target: ClassSet) -> tuple[str, ...]:
    choices = (*target.names, IGNORED)

    def problem(new: Any) -> str:
        known = composed(str(new)) in choices
        return "" if known else unknown_name("target class", str(new), choices)

    given = read_by_class(file, source.names, "source class", problem)
    missing = [name for name in source.names if name not in given]
    if missing:
        raise DataError(f"{file}: no line for {', '.join(missing)}; a class may go to ignore")
    if not set(given.values()) - {IGNORED}:
        raise DataError(f"{file}: every class goes to ignore, and nothing is left")
    return tuple(composed(str(given[name])) for name in source.names)
