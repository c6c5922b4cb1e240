"""How sure a network is of each pixel, and a threshold (Tranheden & Olsson, Figure 5.5)."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from mixseg.analysis.figures.figure import Drawn, Given, figure
from mixseg.config.values import Range
from mixseg.data.images import ImageArray, LabelArray
from mixseg.evaluation.pictures import Grid, Panel, gray, legend, overlay, scaled, sheet

PANEL = 320
"""Most pixels of a side of each picture."""


@figure(
    "confidence",
    "confidence of predictions, and the pixels above the threshold (Tranheden & Olsson: 5.5)",
    datasets=1,
    runs=(1, 1),
    reads="network",
    images=4,
    counted=True,
)
def draw(given: Given, threshold: Annotated[float | None, Range(0, 1)] = None) -> Drawn:
    """A row for each image.

    Args:
        given: A run and images of its data.
        threshold: [that of the run]
    """
    from mixseg.analysis.pseudo_labels import label_image, threshold_of

    run = given.runs[0]
    if threshold is None:
        threshold = threshold_of(run.settings)
    classes = run.predict.classes
    panels, rows = [], []
    present: set[int] = set()
    for index, caption, image in given.images():
        found = label_image(run.predict, image, run.settings)
        confidence = found.confidence[0].numpy()
        labels: LabelArray = found.labels[0].numpy().astype(np.uint8)
        above = confidence > threshold
        share = float(above.mean())
        colors = overlay(image, labels, classes, alpha=1)
        shades = (255 * confidence).round().astype(np.uint8)
        white = np.where(above, 255, 0).astype(np.uint8)
        panels.append(
            [
                Panel(scaled(image, PANEL, exact=False), caption),
                Panel(scaled(colors, PANEL, exact=False)),
                Panel(gray(scaled(shades, PANEL, exact=False)), f"mean {confidence.mean():.3f}"),
                Panel(gray(scaled(white, PANEL, exact=True)), f"{100 * share:.1f} % of the pixels"),
            ]
        )
        for train_id in np.unique(labels).tolist():
            here = labels == train_id
            counts = (int(here.sum()), int(above[here].sum()), float(confidence[here].mean()))
            rows.append((given.dataset.samples[index].id, classes.names[train_id], *counts))
            present.add(train_id)

    def feet(grid: Grid) -> list[ImageArray]:
        shades = "confidence: the largest probability, from black (0) to white (1)"
        about = f"{run.title}; {shades}; threshold {threshold:g}"
        return [grid.text(about), legend(classes, present, grid.width)]

    titles = ("image", "prediction", "confidence", "above the threshold")
    head = ("image", "predicted class", "pixels", "above the threshold", "mean confidence")
    return Drawn(sheet(panels, titles, feet), head, rows)
