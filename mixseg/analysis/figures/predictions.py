"""Images, their truth, and predictions (Tranheden & Olsson, Figures 4.2, 4.3; Kim, 4-1 to 4-8)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mixseg.analysis.figures.figure import MANY, Drawn, Given, figure
from mixseg.data.contract import ClassSet
from mixseg.data.images import LabelArray
from mixseg.evaluation.pictures import Column, Row, comparison, reduced
from mixseg.ignore import IGNORE


@figure(
    "predictions",
    "image, truth, one column for each run (Tranheden & Olsson: 4.2, 4.3; Kim: 4-1 to 4-8)",
    datasets=1,
    runs=(1, MANY),
    reads="network",
    images=4,
    counted=True,
)
def draw(given: Given) -> Drawn:
    """A row for each image, a column for each run."""
    from mixseg.evaluation.prediction import THUMBNAIL

    dataset = given.dataset
    labeled = all(dataset.samples[index].label is not None for index in given.shown)
    columns = [Column(run.title, run.predict.classes) for run in given.runs]
    if labeled:
        columns.insert(0, Column("ground truth", dataset.classes))
    pictures, rows = [], []
    for index, caption, image in given.images():
        truth = [dataset.pair(index)[1]] if labeled else []
        seen = (*truth, *(run.predict(image) for run in given.runs))
        for column, labels in zip(columns, seen, strict=True):
            same = column.classes.names == dataset.classes.names
            lines = _counts(labels, column.classes, truth[0] if truth and same else None)
            rows += [(dataset.samples[index].id, column.title, *line) for line in lines]
        pictures.append(reduced(Row(caption, image, seen), THUMBNAIL))
    head = ("image", "column", "class", "pixels", "iou")
    return Drawn(comparison(columns, pictures, alpha=1), head, rows)


def _counts(
    labels: LabelArray, classes: ClassSet, truth: LabelArray | None
) -> Iterator[tuple[str, int, object]]:
    """Class, its pixels in a label map, and its IoU where there is a truth of the same classes."""
    import torch

    from mixseg.evaluation.scores import ConfusionMatrix

    iou: list[float] = []
    if truth is not None:
        matrix = ConfusionMatrix(len(classes))
        matrix.update(torch.from_numpy(labels), torch.from_numpy(truth))
        iou = matrix.iou().tolist()
    for train_id, pixels in zip(*np.unique(labels, return_counts=True), strict=True):
        known = train_id != IGNORE
        value = iou[train_id] if known and iou and iou[train_id] == iou[train_id] else ""
        yield classes.names[train_id] if known else "(void)", int(pixels), value
