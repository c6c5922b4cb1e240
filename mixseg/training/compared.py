"""Data on which a trained network is scored, in the classes that both have in common."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from mixseg.data.contract import SegmentationDataset
from mixseg.errors import ConfigError
from mixseg.evaluation.out_of_domain import CommonClasses, common_classes
from mixseg.training.data import RunData, settings_on
from mixseg.training.saved_network import SavedNetworks


class Compared(NamedTuple):
    """A split, its name, and the classes in which predictions and labels are compared."""

    dataset: SegmentationDataset
    split: str
    classes: CommonClasses


def open_compared(
    saved: SavedNetworks,
    *,
    given: SegmentationDataset | None = None,
    dataset: str | None = None,
    root: str | None = None,
    split: str | None = None,
    unpaired: str | None = None,
    class_map: str | Path | None = None,
    allow_changes: bool = False,
) -> Compared:
    """Open a run's own validation images, or others.

    Args:
        saved: The networks of the run.
        given: Other data that are open already; dataset, root, split and unpaired then say nothing.
        dataset: Layout of other data.
        root: Their folder.
        split: Name of the split; by default what the run was validated on.
        unpaired: What becomes of images without a label; by default as in the run.
        class_map: File that leads from the data's classes to the network's, or the other way.
        allow_changes: Take the run's own images although they have changed.

    Raises:
        ConfigError: The run's own images have changed and that is not allowed, or it is allowed and
            they are not the run's.
    """
    own = False
    if given is not None:
        opened, name = given, given.split
    else:
        changed = {} if unpaired is None else {"data.unpaired": unpaired}
        settings = settings_on(dict(saved.settings) | changed, dataset, root)
        opened, name = RunData(settings).judged(split, saved.run)
        own_split = None if settings.data.val is not None else settings.data.val_split
        own = dataset is None and root is None and split in (None, own_split)
    if own:
        saved.check_data(opened, allow_changes=allow_changes)
    elif allow_changes:
        raise ConfigError("--allow-changes does nothing: these are not the run's own data")
    file = None if class_map is None else Path(class_map).expanduser()
    common = common_classes(saved.classes, opened, file)
    return Compared(common.labeled(opened), name, common)
