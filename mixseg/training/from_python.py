"""Objects handed in from Python, in place of what settings name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

from mixseg.data.contract import SegmentationDataset
from mixseg.errors import ConfigError


@final
@dataclass(frozen=True)
class Objects:
    """What a run is given as objects.

    Attributes:
        parts: ``network``, or a part as methods ask for it (``mixer``, ``supervised_loss``,
            ``weighting``, ``consistency``, ``augment``, ``style``, ``labeled_mix``) -> the object.
        train: Training images: those of the target, if there is a source.
        unlabeled: Further images without labels.
        val: Validation images.
        source: Labeled images of a source domain, with the classes of the others.
    """

    parts: Mapping[str, Any] = field(default_factory=dict)
    train: SegmentationDataset | None = None
    unlabeled: SegmentationDataset | None = None
    val: SegmentationDataset | None = None
    source: SegmentationDataset | None = None

    @property
    def names(self) -> list[str]:
        """Names of what is given, as the run remembers them."""
        data = ("train", "unlabeled", "val", "source")
        return sorted([*self.parts, *(name for name in data if getattr(self, name) is not None)])

    def check_as_before(self, before: list[str], where: str) -> None:
        """Refuse to resume a run without the objects that it was begun with.

        Raises:
            ConfigError: One is missing, or there is a further one.
        """
        if before != self.names:
            given, now = (", ".join(names) or "no object" for names in (before, self.names))
            raise ConfigError(
                f"{where} was given {given} from Python, and now {now}: go on with it from Python, "
                "mixseg.resume(path, ...), with the same objects"
            )


NO_OBJECTS = Objects()
