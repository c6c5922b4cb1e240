"""Images, their truth, and predictions (Tranheden & Olsson, Figures 4.2, 4.3; Kim, 4-1 to 4-8)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from mixseg.analysis.figures.figure import (
    IDS,
    IMAGES,
    MANY,
    NETWORK,
    SEED,
    Drawn,
    Given,
    chosen,
    csv_table,
    drawn_picture,
    figure,
    short_names,
)
from mixseg.data.arrays import LabelArray
from mixseg.data.contract import ClassSet
from mixseg.evaluation.pictures import Column, Row, comparison, reduced
from mixseg.evaluation.prediction import THUMBNAIL
from mixseg.evaluation.scores import ConfusionMatrix
from mixseg.ignore import IGNORE


@figure(
    "predictions",
    "image, truth, one column for each run (Tranheden & Olsson: 4.2, 4.3; Kim: 4-1 to 4-8)",
    datasets=1,
    runs=(1, MANY),
    reads="network",
    flags=(NETWORK, IMAGES, IDS, SEED),
)
def draw(given: Given, images: int = 4, ids: Sequence[str] = (), seed: int = 0) -> Drawn:
    """A row for each image, a column for each run."""
    dataset = given.dataset
    indices = chosen(dataset, images, seed, ids)
    labeled = all(dataset.samples[index].label is not None for index in indices)
    columns = [Column(run.title, run.predict.classes) for run in given.runs]
    if labeled:
        columns.insert(0, Column("ground truth", dataset.classes))
    rows, table = [], []
    captions = short_names([dataset.samples[index].id for index in indices])
    for done, (index, caption) in enumerate(zip(indices, captions, strict=True), start=1):
        name = dataset.samples[index].id
        image = dataset.image(index)
        truth = [dataset.pair(index)[1]] if labeled else []
        seen = (*truth, *(run.predict(image) for run in given.runs))
        for column, labels in zip(columns, seen, strict=True):
            same = column.classes.names == dataset.classes.names
            lines = _counts(labels, column.classes, truth[0] if truth and same else None)
            table += [(name, column.title, *line) for line in lines]
        rows.append(reduced(Row(caption, image, seen), THUMBNAIL))
        given.advance(done, len(indices))
    head = ("image", "column", "class", "pixels", "iou")
    return drawn_picture(comparison(columns, rows, alpha=1), csv_table(head, table))


def _counts(
    labels: LabelArray, classes: ClassSet, truth: LabelArray | None
) -> Iterator[tuple[str, int, object]]:
    """Class, its pixels in a label map, and its IoU where there is a truth of the same classes."""
    iou: list[float] = []
    if truth is not None:
        matrix = ConfusionMatrix(len(classes))
        matrix.update(torch.from_numpy(labels), torch.from_numpy(truth))
        iou = matrix.iou().tolist()
    for train_id, pixels in zip(*np.unique(labels, return_counts=True), strict=True):
        known = train_id != IGNORE
        value = iou[train_id] if known and iou and iou[train_id] == iou[train_id] else ""
        yield classes.names[train_id] if known else "(void)", int(pixels), value
