"""The learning-rate range test, on problems whose best rate is known."""

from __future__ import annotations

import csv
import io

import pytest
import torch
from PIL import Image

from mixseg.analysis.learning_rates import RangeTest, range_test
from mixseg.analysis.noise import random_batches
from mixseg.config.resolve import resolve_settings
from mixseg.errors import TrainingError
from mixseg.training.build import Given, build_learner

TINY = {
    "method": "supervised",
    "model.backbone": "test_resnet",
    "model.weights": "none",
    "model.batch_norm": "train",
    "model.rates": [1],
    "optimizer.head_factor": 2.0,
}


def probed(
    low: float, high: float, steps: int, *, uphill: bool = False, **changes: object
) -> RangeTest:
    learner, _ = build_learner(resolve_settings([], TINY | changes), 5, Given())
    for group in learner.optimizer.param_groups:
        group["maximize"] = uphill
    batch = random_batches(0, {"labeled": 2}, {"labeled": (32, 40)}, 5)
    return range_test(learner, iter([[batch]] * steps), low, high, steps)


def test_rates_grow_by_the_same_factor_from_low_to_high() -> None:
    found = probed(1e-6, 1e-4, 21)
    assert found.rates[0] == pytest.approx(1e-6)
    assert found.rates[-1] == pytest.approx(1e-4)
    ratios = [after / before for before, after in zip(found.rates, found.rates[1:], strict=False)]
    assert ratios == pytest.approx([100 ** (1 / 20)] * 20)
    assert not found.diverged
    rows = list(csv.DictReader(io.StringIO(found.to_csv())))
    assert [float(row["rate"]) for row in rows] == list(found.rates)
    assert [float(row["loss"]) for row in rows] == list(found.losses)
    with Image.open(io.BytesIO(found.chart())) as image:
        assert min(image.size) > 300


def test_a_rate_at_which_the_loss_runs_away_is_not_suggested() -> None:
    found = probed(1e-5, 1e4, 120)
    assert found.diverged
    assert found.rates[-1] < 1e4, "it stops there"
    assert found.suggestion <= found.rates[found.lowest] / 10
    assert found.suggestion >= found.rates[0]


def test_curves_without_a_suggestion() -> None:
    with pytest.raises(TrainingError, match=r"ran away after .*--low"):
        probed(1e6, 1e9, 20)
    with pytest.raises(TrainingError, match="never fell"):
        probed(1e-3, 1e-2, 12, uphill=True)


def test_a_loss_below_zero_does_not_count_as_running_away() -> None:
    dice = {"supervised_loss.name": "dice", "supervised_loss.dice": "sum"}
    found = probed(1e-4, 1e-2, 20, **dice)
    assert min(found.losses) < 0
    assert len(found.rates) == 20


def test_the_suggestion_of_a_known_curve() -> None:
    # Flat until 1e-4, falling fastest about 1e-3, lowest at 1e-1.
    rates = torch.logspace(-6, 0, 121).tolist()
    losses = [3 - 2 * float(torch.sigmoid(torch.tensor(8 * (i / 20 - 3)))) for i in range(101)]
    losses += [losses[-1] + 0.2 * i for i in range(1, 21)]
    found = RangeTest(tuple(rates), tuple(losses), tuple(losses), diverged=True)
    assert found.rates[found.lowest] == pytest.approx(0.1, rel=0.2)
    assert found.rates[found.steepest] == pytest.approx(1e-3, rel=0.2)
    assert found.suggestion == found.rates[found.steepest]
