"""Images, their truth, and predictions (Tranheden & Olsson, Figures 4.2, 4.3; Kim, 4-1 to 4-8)."""

from __future__ import annotations

import numpy as np
import torch

from mixseg.analysis.comparison import Column, Row, comparison, reduced
from mixseg.analysis.figures.request import (
    Drawn,
    Request,
    csv_table,
    drawn_picture,
    short_names,
)
from mixseg.data.arrays import LabelArray
from mixseg.data.contract import ClassSet
from mixseg.evaluation.confusion import ConfusionMatrix
from mixseg.evaluation.side_by_side import THUMBNAIL
from mixseg.ignore import IGNORE

TRUTH = "ground truth"


def draw(request: Request) -> Drawn:
    """A row for each image, a column for each run."""
    dataset = request.datasets[0].dataset
    columns = [Column(run.title, run.predict.classes) for run in request.runs]
    truths: list[Column] = []
    indices = request.chosen(dataset, request.images)
    rows, table = [], []
    labelled = all(dataset.samples[index].label is not None for index in indices)
    if labelled:
        truths = [Column(TRUTH, dataset.classes)]
    captions = short_names([dataset.samples[index].id for index in indices])
    for done, (index, caption) in enumerate(zip(indices, captions, strict=True), start=1):
        name = dataset.samples[index].id
        image = dataset.image(index)
        predictions = [run.predict(image) for run in request.runs]
        truth = [dataset.pair(index)[1]] if labelled else []
        table += [
            (name, column.title, *line)
            for column, labels in zip([*truths, *columns], [*truth, *predictions], strict=True)
            for line in _counts(labels, column.classes, dataset.classes, truth)
        ]
        rows.append(reduced(Row(caption, image, (*truth, *predictions)), THUMBNAIL))
        request.advance(done, len(indices))
    head = ("image", "column", "class", "pixels", "iou")
    return drawn_picture(comparison([*truths, *columns], rows, alpha=1), csv_table(head, table))


def _counts(
    labels: LabelArray, classes: ClassSet, of_truth: ClassSet, truth: list[LabelArray]
) -> list[tuple[str, int, object]]:
    """Class, its pixels in a label map, and its IoU where the truth has the same classes."""
    iou: list[float] = []
    if truth and classes.names == of_truth.names:
        matrix = ConfusionMatrix(len(classes))
        matrix.update(torch.from_numpy(labels), torch.from_numpy(truth[0]))
        iou = matrix.iou().tolist()
    lines: list[tuple[str, int, object]] = []
    for train_id, pixels in zip(*np.unique(labels, return_counts=True), strict=True):
        known = train_id != IGNORE
        value = iou[train_id] if known and iou and iou[train_id] == iou[train_id] else ""
        lines.append((classes.names[train_id] if known else "(void)", int(pixels), value))
    return lines
