"""How sure a network is of each pixel, and a threshold (Tranheden & Olsson, Figure 5.5)."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from mixseg.analysis.figures.request import (
    Drawn,
    Request,
    csv_table,
    drawn_picture,
    short_names,
)
from mixseg.analysis.pictures import legend, overlay
from mixseg.analysis.sheet import Grid, Panel, scaled, sheet
from mixseg.data.arrays import ImageArray, LabelArray
from mixseg.targets import confident_fraction, pseudo_labels
from mixseg.temperature import tempered

PANEL = 320
"""Most pixels of a side of each picture."""

TITLES = ("image", "prediction", "confidence", "above the threshold")


def draw(request: Request) -> Drawn:
    """A row for each image."""
    run, dataset = request.runs[0], request.datasets[0].dataset
    threshold = run.settings.options.get("targets.threshold", 0.968)
    if request.threshold is not None:
        threshold = request.threshold
    classes = run.predict.classes
    indices = request.chosen(dataset, request.images)
    panels, rows, present = [], [], set()
    captions = short_names([dataset.samples[index].id for index in indices])
    for done, (index, caption) in enumerate(zip(indices, captions, strict=True), start=1):
        image, name = dataset.image(index), dataset.samples[index].id
        probabilities = run.predict.probabilities(image)
        valid = torch.ones(1, *image.shape[:2], dtype=torch.bool)
        temperature = run.settings.options.get("adversarial.temperature_g", 1.0)
        if temperature != 1:
            # As the training sees it: logarithms of probabilities are logits but for a constant.
            softmax = tempered(functional.softmax, temperature)
            probabilities = softmax(probabilities.clamp(min=1e-30).log(), dim=1)
        found = pseudo_labels(probabilities, valid)
        share = float(confident_fraction(found.confidence, valid, threshold, per="batch"))
        confidence = found.confidence[0].numpy()
        labels: LabelArray = found.labels[0].numpy().astype(np.uint8)
        above = confidence > threshold
        grey = (255 * confidence).round().astype(np.uint8)
        panels.append(
            [
                Panel(scaled(image, PANEL, exact=False), caption),
                Panel(scaled(overlay(image, labels, classes, alpha=1), PANEL, exact=False)),
                Panel(_grey(scaled(grey, PANEL, exact=False)), f"mean {confidence.mean():.3f}"),
                Panel(
                    _grey(scaled(np.where(above, 255, 0).astype(np.uint8), PANEL, exact=True)),
                    f"{100 * share:.1f} % of the pixels",
                ),
            ]
        )
        for train_id in np.unique(labels).tolist():
            here = labels == train_id
            rows.append(
                (
                    name,
                    classes.names[train_id],
                    int(here.sum()),
                    int(above[here].sum()),
                    float(confidence[here].mean()),
                )
            )
            present.add(train_id)
        request.advance(done, len(indices))

    def feet(grid: Grid) -> list[ImageArray]:
        shades = "confidence: the largest probability, from black (0) to white (1)"
        lines = [f"{run.title}; {shades}; threshold {threshold:g}"]
        return [grid.text(lines), legend(classes, present, grid.width)]

    head = ("image", "predicted class", "pixels", "above the threshold", "mean confidence")
    return drawn_picture(sheet(panels, TITLES, feet), csv_table(head, rows))


def _grey(picture: LabelArray) -> ImageArray:
    """A greyscale picture as RGB."""
    return np.repeat(picture[..., None], 3, axis=2)
