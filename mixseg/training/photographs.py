"""The images of ``data.unlabeled``, without files that the configuration has another use for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from mixseg.config import Settings
from mixseg.data.contract import SegmentationDataset
from mixseg.data.known_files import KnownFiles, without_known
from mixseg.data.pairing import pair_present, passed_over
from mixseg.data.registry import open_dataset, splits_of
from mixseg.data.unlabeled import ANY_CLASS, open_unlabeled
from mixseg.errors import DataError


def open_photographs(
    settings: Settings, opened: Iterable[SegmentationDataset], val: SegmentationDataset | None
) -> tuple[SegmentationDataset, tuple[str, ...]]:
    """The unlabeled images that ``data.unlabeled`` names, and notes on those left out.

    Args:
        settings: Of a run, with ``data.unlabeled``.
        opened: Splits that the run takes labels from.
        val: What it validates on, whose images are left out too, unless they are what is trained
            on; None where that cannot be opened.

    Raises:
        DataError: There is no image, or all are label files or validation images.
    """
    data = settings.data
    assert data.unlabeled is not None
    source = Path(data.unlabeled).expanduser()
    vals = () if val is None else (val,)
    labeled = (*opened, *vals)
    photographs = open_unlabeled(source, labeled[-1].classes if labeled else ANY_CLASS)
    other = passed_over(source) if source.is_dir() else ""
    notes = (f"note: {other}",) if other else ()
    own_val = data.val is not None or data.val_split != data.train_split
    known = KnownFiles.of((*labeled, *_all_splits(settings)), vals if own_val else ())
    photographs, left_out = without_known(photographs, known)
    if not left_out:
        return photographs, notes
    if not len(photographs):
        raise DataError(
            f"no unlabeled images in {source}: {left_out}. Give --unlabeled a folder of other "
            "photographs, or leave it out: with --labeled 1/8 the images of the other labels serve "
            "as unlabeled ones"
        )
    return photographs, (
        *notes,
        f"note: {left_out} in {source} left out of the unlabeled images",
    )


def _all_splits(settings: Settings) -> Iterator[SegmentationDataset]:
    """What lies in the folders of the labeled data, used by this run or not."""
    data, source = settings.data, settings.source_domain
    for name, root in ((data.dataset, data.root), (source.dataset, source.root)):
        if name is None or root is None:
            continue
        layout, folder = "cityscapes" if name == "demo" else name, Path(root).expanduser()
        for split in splits_of(layout, folder):
            try:
                yield open_dataset(layout, folder, split, pair_present)
            except DataError:
                continue  # need not be there, as no run has asked for it
