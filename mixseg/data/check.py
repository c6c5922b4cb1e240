"""A look at a few samples before hours are spent on all of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mixseg.data.contract import SegmentationDataset
from mixseg.errors import DataError
from mixseg.ignore import IGNORE


def check_samples(dataset: SegmentationDataset, indices: Sequence[int], limit: int = 16) -> None:
    """Read a spread of samples; a wrong label folder or class table shows in the first few.

    Args:
        dataset: The data set.
        indices: Samples that training will use; the first and last of them are always read.
            Those without a label are read as images.
        limit: How many samples to read at most.

    Raises:
        DataError: A file is damaged, image and label differ in size, a label holds an unknown id,
            or every label that was read holds nothing but ignored pixels.
    """
    count = min(limit, len(indices))
    chosen = [indices[k * (len(indices) - 1) // max(count - 1, 1)] for k in range(count)]
    void: list[Path] = []
    has_class = False
    for index in chosen:
        path = dataset.samples[index].label
        if path is None:
            dataset.image(index)
        elif (dataset.pair(index)[1] == IGNORE).all():
            void.append(path)
        else:
            has_class = True
    if void and not has_class:
        found = np.unique(dataset.read_raw_label(void[0])).tolist()
        known = np.flatnonzero((dataset.lookup >= 0) & (dataset.lookup != IGNORE)).tolist()
        raise DataError(
            f"all {len(void)} labels read of {dataset.name} {dataset.split!r} hold nothing but "
            f"ignored pixels: {void[0]} has the ids {found}, but classes have the ids {known}. Are "
            "these the right label files?"
        )
