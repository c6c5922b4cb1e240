"""The softmax of one pixel under several temperatures (Kim, Figures 2-12 and 2-13)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from mixseg.analysis.figures.figure import Drawn, Given, check_distinct, figure
from mixseg.charts import chart_name, class_colors, grouped_bars, names_below, new_chart
from mixseg.config.values import Range
from mixseg.data.contract import ClassSet
from mixseg.data.images import ImageArray
from mixseg.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

EXAMPLE = (0.0, 8.0, 7.3, 7.3, 0.0, 0.0)
"""Six classes whose cross-entropies under T = 1, 0.5 and 2 are those of Figure 2-13 to two digits:
the figure gives them without its logits."""

MOST_SLANTED = 12
"""Names of classes that have room to be written aslant; more are written upright."""

LINES = {0.5: "tab:red", 1.0: "black", 2.0: "tab:blue"}
"""Colors of the figure's own temperatures."""

Pixel = tuple[int, ...]


@figure(
    "temperatures",
    "softmax of one pixel under temperatures, of an example or of a run (Kim: 2-12, 2-13)",
    is_chart=True,
    datasets=1,
    runs=(0, 1),
    reads="network",
    images=1,
)
def draw(
    given: Given,
    temperatures: Annotated[tuple[float, ...], Range(0.01, 10_000)] = (0.5, 1.0, 2.0),
    logits: Annotated[tuple[float, ...], Range(-10_000, 10_000)] = (),
    pixel: Annotated[Pixel | None, Range(0, 1e6)] = None,
) -> Drawn:
    """Logits on the left, probabilities on the right; a run's image above, with the pixel.

    Args:
        given: A run and an image, or nothing.
        temperatures: [0.5 1 2]
        logits: of one pixel, one for each class
        pixel: ROW,COLUMN [one in doubt]
    """
    import torch
    from matplotlib import colormaps
    from torch.nn import functional

    from mixseg.losses.temperature import tempered

    check_distinct("--temperatures", temperatures)
    if len(logits) == 1:
        raise ConfigError("--logits: expected a number for each of two or more classes")
    if pixel is not None and len(pixel) != 2:
        raise ConfigError("--pixel: expected ROW,COLUMN, for example 60,100")
    if given.runs and not logits:
        classes, about = given.runs[0].predict.classes, "logits, up to a constant"
        image = given.dataset.image(given.shown[0])
        scores, pixel = _of_run(given, image, pixel)
        chart = new_chart(10, 7.4)
        panels = chart.subplot_mosaic([["image", "image"], ["left", "right"]], width_ratios=(2, 3))
        left, right = panels["left"], panels["right"]
        axes = panels["image"]
        axes.imshow(image)
        axes.plot(pixel[1], pixel[0], "+", color="white", markersize=18, markeredgewidth=4)
        axes.plot(pixel[1], pixel[0], "+", color="red", markersize=16, markeredgewidth=2)
        axes.set_axis_off()
        title = f"{chart_name(given.runs[0].title)}: pixel in row {pixel[0]}, column {pixel[1]}"
        axes.set_title(title, fontsize="medium")
    else:
        about = "logits"
        scores = torch.tensor(logits or EXAMPLE, dtype=torch.float64)
        names = tuple(f"class {number}" for number in range(1, len(scores) + 1))
        classes = ClassSet.of(names)
        chart = new_chart(10, 4.6)
        left, right = chart.subplots(1, 2, width_ratios=(2, 3))

    found = {one: tempered(functional.softmax, one)(scores, dim=-1) for one in temperatures}
    look = {"color": class_colors(classes.palette), "edgecolor": "0.3", "linewidth": 0.5}
    grouped_bars(left, [(scores.tolist(), look)])
    left.set_ylabel(about)
    groups = []
    for number, (temperature, probabilities) in enumerate(found.items()):
        loss = -float(probabilities[int(scores.argmax())].log())
        color = LINES.get(temperature, colormaps["viridis"](number / len(found)))
        label = f"T = {temperature:g} (cross-entropy {loss:.2f})"
        groups.append((probabilities.tolist(), {"color": color, "label": label}))
    grouped_bars(right, groups)
    right.set(ylabel="softmax(logits / T)", ylim=(0, 1))
    right.legend(fontsize="small")
    for axes in (left, right):
        names_below(axes, classes.names, upright=len(classes) > MOST_SLANTED)
        axes.tick_params(axis="x", labelsize="small")
    columns = [one.tolist() for one in (scores, *found.values())]
    head = ("class", "logit", *(f"T={temperature:g}" for temperature in found))
    return Drawn(chart, head, zip(classes.names, *columns, strict=True))


def _of_run(given: Given, image: ImageArray, pixel: Pixel | None) -> tuple[Tensor, Pixel]:
    """Logits of a pixel of a run, and its row and column.

    Logarithms of probabilities are the logits less a constant, which no softmax sees.
    """
    probabilities = given.runs[0].predict.probabilities(image)[0].double()
    height, width = image.shape[:2]
    if pixel is None:
        # Where the network is neither sure nor lost a temperature shows most.
        doubt = (probabilities.amax(dim=0) - 0.5).abs()
        pixel = divmod(int(doubt.argmin()), width)
    if not (0 <= pixel[0] < height and 0 <= pixel[1] < width):
        raise ConfigError(
            f"--pixel {pixel[0]},{pixel[1]}: the image has {height} rows and {width} columns"
        )
    logits = probabilities[:, pixel[0], pixel[1]].clamp(min=1e-12).log()
    return logits - logits.min(), pixel
