"""Networks on data with other classes than those of their training (Lourenço, VI.F).

Scores need one set of classes for predictions and labels. Either the labels are turned into the
network's classes, or the predictions into the data's. A class may be joined with others but never
split, so the two sets decide which way there is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

from mixseg.config.yaml import load_yaml
from mixseg.data.class_maps import ClassMap, built_in_map, class_map
from mixseg.data.contract import ClassSet, SegmentationDataset
from mixseg.errors import DataError
from mixseg.evaluation.scores import Scores

BUILT_IN = "built in"
"""Stands for the file of a map that needs none."""

Mapped = Literal["labels", "predictions"]


@final
@dataclass(frozen=True)
class CommonClasses:
    """The classes in which a network and a data set can be compared.

    Attributes:
        class_map: From the classes of ``mapped`` to the common ones.
        mapped: What is turned into the common classes: ``labels`` (they are the network's) or
            ``predictions`` (they are the data's).
        origin: The map's file, or :data:`BUILT_IN`.
        absent: Classes of the data set that none of its label files holds.
    """

    class_map: ClassMap
    mapped: Mapped
    origin: str
    absent: tuple[str, ...] = ()

    @property
    def classes(self) -> ClassSet:
        """The common classes, which scores and saved predictions are in."""
        return self.class_map.target

    @property
    def is_plain(self) -> bool:
        """Whether network and data have the same classes, so that nothing is special."""
        return self.class_map.targets == self.classes.names and not self.absent

    @property
    def of_predictions(self) -> ClassMap | None:
        """The map of predictions; None where labels are mapped."""
        return self.class_map if self.mapped == "predictions" else None

    def labeled(self, dataset: SegmentationDataset) -> SegmentationDataset:
        """The data set with labels of the common classes."""
        return self.class_map.apply(dataset) if self.mapped == "labels" else dataset

    def never_labeled(self) -> tuple[str, ...]:
        """Common classes that the data set has no label for."""
        if self.mapped == "labels":
            return tuple(self.class_map.without_source(self.absent))
        return self.absent

    def never_predicted(self) -> tuple[str, ...]:
        """Common classes that the network does not know."""
        return () if self.mapped == "labels" else tuple(self.class_map.without_source())

    @property
    def judged(self) -> tuple[str, ...] | None:
        """The classes that both know; None if they have the same and all may be labeled."""
        if self.is_plain:
            return None
        unknown = {*self.never_labeled(), *self.never_predicted()}
        return tuple(name for name in self.classes.names if name not in unknown)

    def describe(self) -> list[str]:
        """Lines about classes that are joined, dropped, or not judged; none if plain."""
        if self.is_plain:
            return []
        lines = [
            f"class map ({self.origin}): {self.mapped} of {len(self.class_map.source)} classes "
            f"-> {len(self.classes)} classes of the "
            f"{'network' if self.mapped == 'labels' else 'data'}",
            *self.class_map.changes(),
        ]
        if self.class_map.dropped() and self.mapped == "predictions":
            lines.append("an ignored prediction is wrong wherever the pixel is labeled")
        for what, names in {
            "never labeled, not judged": self.never_labeled(),
            "unknown to the network, not judged": self.never_predicted(),
        }.items():
            if names:
                lines.append(f"{what}: {', '.join(names)}")
        return lines

    def caption(self, scores: Scores) -> list[str]:
        """Lines below a table of scores: what only the labels of the split could tell."""
        if self.judged is None:
            return []
        unseen = [name for name in self.judged if scores.by_class[name] is None]
        return [f"without a label in this split, not judged: {', '.join(unseen)}"] if unseen else []

    def mean_name(self, scores: Scores) -> str:
        """What the mean IoU is taken over."""
        if self.judged is None:
            return "mIoU"
        return f"mIoU over the {scores.counted} classes that both know"

    def to_json(self) -> dict[str, Any]:
        """The record of the map, for ``json.dumps``."""
        return {
            "origin": self.origin,
            "mapped": self.mapped,
            "joined": self.class_map.renamed(),
            "dropped": self.class_map.dropped(),
            "never_labelled": list(self.never_labeled()),
            "never_predicted": list(self.never_predicted()),
        }


def common_classes(
    network: ClassSet, dataset: SegmentationDataset, file: Path | None = None
) -> CommonClasses:
    """The way to compare a network's predictions with the labels of a data set.

    Sets with the same names need no map. A file's keys say whether it begins at the data's classes
    or at the network's. Of two built-in ways the one that ends at fewer classes is taken: it joins
    classes that the other one would have to guess apart; of two that end at as many, the one that
    drops fewer, then the one that maps labels.

    Args:
        network: Classes of the predictions.
        dataset: The labeled data.
        file: A map, as :func:`mixseg.data.class_maps.class_map` reads it.

    Raises:
        DataError: There is no map, or the file is not one between the two sets.
        ConfigError: The file is not strict YAML.
    """
    if file is None and network.names == dataset.classes.names:
        # The data's own set: its files may have other ids for the same classes.
        plain = class_map(dataset.classes, dataset.classes)
        return CommonClasses(plain, "labels", BUILT_IN, dataset.absent)
    pairs: dict[Mapped, tuple[ClassSet, ClassSet]]
    pairs = {"labels": (dataset.classes, network), "predictions": (network, dataset.classes)}
    if file is not None:
        keys = {str(key) for key in load_yaml(file).data}

        def fit(mapped: Mapped) -> tuple[int, int]:
            """How many classes are named and, if some have the same name, how few are missing."""
            names = {*pairs[mapped][0].names}
            return len(keys & names), -len(names - keys)

        best = max(pairs, key=fit)
        return CommonClasses(class_map(*pairs[best], file), best, str(file), dataset.absent)
    ways = [
        CommonClasses(found, mapped, BUILT_IN, dataset.absent)
        for mapped, pair in pairs.items()
        if (found := built_in_map(*pair)) is not None
    ]
    if not ways:
        raise DataError(
            f"the network has the classes {', '.join(network.names)}; {dataset.name} has "
            f"{', '.join(dataset.classes.names)}; no class map is built in between them. Give one "
            "with --class-map FILE, YAML with a line 'CLASS: CLASS' (or ignore) for each class of "
            "the network, or of the data"
        )
    return min(ways, key=lambda way: (len(way.classes), len(way.class_map.dropped())))
