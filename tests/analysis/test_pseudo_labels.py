"""Counts of pseudo-labels against plain loops over pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mixseg.analysis.pseudo_labels import PseudoLabelCounts, Quality, aligning
from mixseg.targets import DistributionAlignment
from mixseg.training.checkpoint import write_checkpoint

CLASSES, THRESHOLD = 3, 0.7


@pytest.fixture
def images() -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Truth with ignored pixels, labels of two of three classes, confidences up to 1."""
    random = np.random.default_rng(0)
    found = []
    for height, width in ((5, 7), (1, 1), (8, 3)):
        truth = random.choice([0, 1, 2, 255], (height, width)).astype(np.uint8)
        labels = random.integers(0, 2, (height, width))
        confidence = random.choice([0.3, 0.65, 0.72, 0.99, 1.0], (height, width))
        found.append((truth, labels, confidence.astype(np.float32)))
    return found


def plain(pixels: list[tuple[int, int, float]], chosen: set[int]) -> list[float | None]:
    """The numbers of a class, or of several, one pixel after the other."""
    labeled = [one for one in pixels if one[1] in chosen]
    true = [one for one in pixels if one[0] in chosen]
    right = [one for one in labeled if one[0] == one[1]]
    above = [one for one in labeled if one[2] > THRESHOLD]
    error = 0.0
    for low in range(10):
        inside = [one for one in labeled if min(int(one[2] * 10), 9) == low]
        error += abs(sum(one[2] for one in inside) - sum(one[0] == one[1] for one in inside))

    def share(part: float, whole: int) -> float | None:
        return part / whole if whole else None

    return [
        len(labeled),
        share(len(labeled), len(pixels)),
        share(len(true), len(pixels)),
        share(len(right), len(labeled)),
        share(len(right), len(true)),
        share(len(above), len(labeled)),
        share(sum(one[0] == one[1] for one in above), len(above)),
        share(sum(one[2] for one in labeled), len(labeled)),
        share(error, len(labeled)),
    ]


def test_counts_equal_those_of_a_loop(
    images: list[tuple[np.ndarray, np.ndarray, np.ndarray]],
) -> None:
    counts = PseudoLabelCounts(CLASSES, THRESHOLD)
    pixels = []
    for truth, labels, confidence in images:
        counts.add(truth, labels, confidence)
        listed = zip(truth.flat, labels.flat, confidence.flat, strict=True)
        pixels += [(int(t), int(p), float(c)) for t, p, c in listed if t != 255]
    found = [*counts.of_classes(), counts.of_all()]
    assert len(found) == CLASSES + 1
    for one, chosen in zip(found, ({0}, {1}, {2}, {0, 1, 2}), strict=True):
        for number, expected in zip(one, plain(pixels, chosen), strict=True):
            assert number == (None if expected is None else pytest.approx(expected, abs=1e-6))
    # The third class is never labeled: nothing can be said of its labels, but that it is missed.
    assert found[2].accuracy is None and found[2].share == 0 == found[2].recall


def test_nothing_is_counted_where_no_truth_is_known() -> None:
    counts = PseudoLabelCounts(2, 0.5)
    labels = np.zeros((2, 2), np.int64)
    counts.add(np.full((2, 2), 255, np.uint8), labels, np.ones((2, 2), np.float32))
    assert counts.of_all() == Quality(0, *[None] * 8)


@pytest.mark.parametrize("of", ["probabilities", "labels"])
def test_labels_are_aligned_as_the_run_did_when_it_was_saved(of: str, tmp_path: Path) -> None:
    wanted = torch.tensor([0.7, 0.2, 0.1])
    align = DistributionAlignment(wanted, alignment_of=of, alignment_rate=0.5)  # type: ignore[arg-type]
    probabilities = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)).softmax(1)
    valid = torch.ones(2, 4, 5, dtype=torch.bool)
    for _ in range(20):
        found = align(probabilities, valid)
    write_checkpoint(tmp_path / "step", {"method": align.state}, {})
    factors = aligning(tmp_path / "step")
    assert factors is not None
    scaled = probabilities * factors[:, None, None]
    torch.testing.assert_close(scaled / scaled.sum(1, keepdim=True), found)
    assert not torch.allclose(found, probabilities, atol=0.01)
    write_checkpoint(tmp_path / "plain", {"student": {"weight": wanted}}, {})
    assert aligning(tmp_path / "plain") is None
