"""The softmax of one pixel under several temperatures (Kim, Figures 2-12 and 2-13)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional

from mixseg.analysis.charts import chart_name
from mixseg.analysis.figures.class_frequencies import class_colours
from mixseg.analysis.figures.request import Drawn, Request, csv_table, drawn_chart
from mixseg.data.arrays import ImageArray
from mixseg.data.contract import ClassSet
from mixseg.errors import ConfigError
from mixseg.temperature import tempered

EXAMPLE = (0.0, 8.0, 7.3, 7.3, 0.0, 0.0)
"""Six classes whose cross-entropies under T = 1, 0.5 and 2 are those of Figure 2-13 to two digits:
the figure gives them without its logits."""

MOST_SLANTED = 12
"""Names of classes that have room to be written aslant; more are written upright."""

LINES = {0.5: "tab:red", 1.0: "black", 2.0: "tab:blue"}
"""Colours of the figure's own temperatures."""


def softmaxes(logits: Tensor, temperatures: Sequence[float]) -> dict[float, Tensor]:
    """Temperature -> probabilities, float64 of shape (C,), of logits of the same shape."""
    return {one: tempered(functional.softmax, one)(logits, dim=-1) for one in temperatures}


def draw(request: Request) -> Drawn:
    """Logits on the left, probabilities on the right; first of all the pixel, if it is a run's."""
    image: ImageArray | None = None
    place: tuple[int, int] | None = None
    about = "logits"
    if request.runs and request.logits is None:
        logits, image, place = _of_run(request)
        classes = request.runs[0].predict.classes
        about = "logits, up to a constant"
    else:
        logits = torch.tensor(request.logits or EXAMPLE, dtype=torch.float64)
        names = tuple(f"class {number}" for number in range(1, len(logits) + 1))
        classes = ClassSet.of(names)
    found = softmaxes(logits, request.temperatures)

    figure = Figure(figsize=(10, 4.6 if image is None else 7.4), layout="constrained")
    if image is None or place is None:
        left, right = figure.subplots(1, 2, width_ratios=(2, 3))
    else:
        panels = figure.subplot_mosaic([["image", "image"], ["left", "right"]], width_ratios=(2, 3))
        left, right = panels["left"], panels["right"]
        _pixel(panels["image"], request, image, place)
    names_shown = [chart_name(name) for name in classes.names]
    places = np.arange(len(classes))
    left.bar(places, logits.tolist(), color=class_colours(classes), edgecolor="0.3", linewidth=0.5)
    left.set_ylabel(about)
    width = 0.8 / len(found)
    top = int(logits.argmax())
    for number, (temperature, probabilities) in enumerate(found.items()):
        loss = -float(probabilities[top].log())
        right.bar(
            places + (number - (len(found) - 1) / 2) * width,
            probabilities.tolist(),
            width,
            color=LINES.get(temperature, colormaps["viridis"](number / len(found))),
            label=f"T = {temperature:g} (cross-entropy {loss:.2f})",
        )
    right.set(ylabel="softmax(logits / T)", ylim=(0, 1))
    right.legend(fontsize="small")
    for axes in (left, right):
        if len(classes) > MOST_SLANTED:
            axes.set_xticks(places, names_shown, rotation=90)
        else:
            axes.set_xticks(places, names_shown, rotation=40, ha="right", rotation_mode="anchor")
        axes.tick_params(axis="x", labelsize="small")
        axes.grid(axis="y", alpha=0.3)
        axes.set_axisbelow(True)
    rows = [
        (name, float(logits[index]), *(float(one[index]) for one in found.values()))
        for index, name in enumerate(classes.names)
    ]
    head = ("class", "logit", *(f"T={temperature:g}" for temperature in found))
    return drawn_chart(figure, csv_table(head, rows))


def _of_run(request: Request) -> tuple[Tensor, ImageArray, tuple[int, int]]:
    """Logits of a pixel of a run, with its image and place.

    Logarithms of probabilities are the logits less a constant, which no softmax sees.
    """
    dataset = request.datasets[0].dataset
    image = dataset.image(request.chosen(dataset, 1)[0])
    probabilities = request.runs[0].predict.probabilities(image)[0].double()
    height, width = image.shape[:2]
    if request.pixel is None:
        # Where the network is neither sure nor lost a temperature shows most.
        doubt = (probabilities.amax(dim=0) - 0.5).abs()
        place = divmod(int(doubt.argmin()), width)
    else:
        place = request.pixel
        if not (0 <= place[0] < height and 0 <= place[1] < width):
            raise ConfigError(
                f"--pixel {place[0]},{place[1]}: the image has {height} rows and {width} columns"
            )
    logits = probabilities[:, place[0], place[1]].clamp(min=1e-12).log()
    return logits - logits.min(), image, place


def _pixel(axes: Axes, request: Request, image: ImageArray, place: tuple[int, int]) -> None:
    axes.imshow(image)
    axes.plot(place[1], place[0], "+", color="white", markersize=18, markeredgewidth=4)
    axes.plot(place[1], place[0], "+", color="red", markersize=16, markeredgewidth=2)
    axes.set_axis_off()
    title = f"{chart_name(request.runs[0].title)}: pixel in row {place[0]}, column {place[1]}"
    axes.set_title(title, fontsize="medium")
