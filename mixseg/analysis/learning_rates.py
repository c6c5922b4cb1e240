"""The learning-rate range test: the loss while the rate grows step by step (Lourenço, III.A).

L. N. Smith, "Cyclical learning rates for training neural networks", 2017.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np

from mixseg.charts import new_chart, png_of
from mixseg.errors import TrainingError
from mixseg.tables import csv_lines

if TYPE_CHECKING:
    from mixseg.data.streams import Batch
    from mixseg.training.loop import Learner

SMOOTHING = 0.9
"""Share of the past in the running mean of the loss."""

DIVERGED = 3.0
"""The test ends once the running mean has risen above its lowest value by this many times that
value or its first, whichever is larger in magnitude."""

FEWEST = 10
"""Steps below which a curve says nothing."""


@final
@dataclass(frozen=True)
class RangeTest:
    """A curve of losses over rates.

    Attributes:
        rates: Learning rate of the backbone at each step.
        losses: Loss of the batch at each step.
        smoothed: Running mean of the losses, corrected for its start.
        diverged: Whether the loss ran away, so that the curve reaches the largest useful rate.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    diverged: bool

    @property
    def lowest(self) -> int:
        """Index of the lowest smoothed loss."""
        return int(np.argmin(self.smoothed))

    @property
    def steepest(self) -> int:
        """Index where the smoothed loss falls most per decade, before it is lowest."""
        slope = np.gradient(self.smoothed, np.log(self.rates))
        return int(np.argmin(slope[: self.lowest + 1]))

    @property
    def suggestion(self) -> float:
        """A rate: where the loss falls fastest, but at most a tenth of where it is lowest."""
        fastest = min(self.rates[self.steepest], self.rates[self.lowest] / 10)
        return max(fastest, self.rates[0])

    def describe(self) -> str:
        """One line: the suggestion, and where it is on the curve."""
        end = "ran away after it" if self.diverged else "never ran away; try --high"
        return (
            f"suggested learning rate: {self.suggestion:.1e} "
            f"(steepest {self.rates[self.steepest]:.1e}, "
            f"lowest loss at {self.rates[self.lowest]:.1e}; the loss {end})"
        )

    def to_csv(self) -> str:
        """One line for each step."""
        lines = zip(self.rates, self.losses, self.smoothed, strict=True)
        return csv_lines([("rate", "loss", "smoothed"), *lines])

    def chart(self) -> bytes:
        """The curve with the suggestion, as a PNG."""
        figure = new_chart(7, 4)
        axes = figure.subplots()
        axes.plot(
            self.rates, self.losses, ".", color="0.7", markersize=3, label="loss of the batch"
        )
        axes.plot(self.rates, self.smoothed, label="running mean")
        for rate, what, color, style in (
            (self.suggestion, "suggested", "tab:green", "--"),
            (self.rates[self.lowest], "lowest loss", "0.5", ":"),
        ):
            axes.axvline(rate, color=color, linestyle=style, label=f"{what} {rate:.1e}")
        # What lies far above the start is of no interest: there the loss runs away.
        least, start = min(self.losses), max(self.smoothed[: self.lowest + 1])
        margin = 0.1 * max(start - least, 1e-6)
        axes.set(
            xscale="log",
            xlabel="learning rate of the backbone",
            ylabel="loss",
            ylim=(least - margin, start + 5 * margin),
        )
        axes.legend(fontsize="small")
        return png_of(figure)


def range_test(
    learner: Learner,
    batches: Iterator[Sequence[Mapping[str, Batch]]],
    low: float,
    high: float,
    steps: int,
) -> RangeTest:
    """Train while the rate grows from ``low`` to ``high`` by the same factor in every step.

    Args:
        learner: Its weights are changed; nothing else is kept of them.
        batches: Micro-batches of each step.
        low: First rate of the backbone; other groups keep their ratio to it.
        high: Last rate.
        steps: Number of steps, at least ``FEWEST``.

    Raises:
        TrainingError: The loss is not finite, or runs away, before there is a curve; or it never
            falls.
    """
    rates, losses, smoothed = [], [], []
    running, diverged = 0.0, False
    peak = float(learner.optimizer.param_groups[0]["peak_lr"])
    learner.method.student.train()
    for step in range(steps):
        rate = low * (high / low) ** (step / (steps - 1))
        learner.set_rate(rate / peak)
        gradients = learner.gradients(next(batches), step)
        if not learner.is_finite(gradients):
            diverged = True
            break
        loss = sum(float(value) for value in gradients.losses.values())
        learner.update(step)
        running = SMOOTHING * running + (1 - SMOOTHING) * loss
        rates.append(rate)
        losses.append(loss)
        smoothed.append(running / (1 - SMOOTHING ** (step + 1)))
        least = min(smoothed)
        if smoothed[-1] - least > DIVERGED * max(abs(least), abs(smoothed[0])):
            diverged = True
            break
    if len(rates) < FEWEST:
        raise TrainingError(
            f"the loss ran away after {len(rates)} steps, at a rate of "
            f"{rates[-1] if rates else low:.2g}: start from a lower --low"
        )
    test = RangeTest(tuple(rates), tuple(losses), tuple(smoothed), diverged)
    if test.lowest == 0:
        raise TrainingError(
            f"the loss never fell between rates of {low:.2g} and {rates[-1]:.2g}: start from a "
            "lower --low, or take more --steps"
        )
    return test
