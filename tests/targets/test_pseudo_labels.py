from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mixseg.ignore import IGNORE
from mixseg.targets import confident_fraction, most_probable, pseudo_labels


def random_case(seed: int) -> tuple[Tensor, Tensor]:
    """Probabilities (2, 4, 5, 6) and a validity mask with holes."""
    random = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(2, 4, 5, 6, generator=random)
    return logits.softmax(1), torch.rand(2, 5, 6, generator=random) < 0.7


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32))
def test_pseudo_labels_are_the_most_probable_classes_of_the_image(seed: int) -> None:
    probabilities, valid = random_case(seed)
    answer = pseudo_labels(probabilities, valid)
    values = probabilities.numpy()
    inside = valid.numpy()
    np.testing.assert_array_equal(
        answer.labels.numpy(), np.where(inside, values.argmax(axis=1), IGNORE)
    )
    np.testing.assert_array_equal(
        answer.confidence.numpy(), np.where(inside, values.max(axis=1), 0)
    )
    assert answer.labels.dtype == torch.int64
    assert answer.confidence.dtype == torch.float32
    assert torch.equal(answer.probabilities, probabilities)


@pytest.mark.parametrize("width", [3, 70_000])  # the rows of one go and of several
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_labels_of_logits_are_those_of_their_softmax(width: int, dtype: torch.dtype) -> None:
    random = torch.Generator().manual_seed(width)
    logits = (10 * torch.randn(2, 4, 5, width, generator=random)).to(dtype)
    valid = torch.rand(2, 5, width, generator=random) < 0.7
    found, wanted = most_probable(logits, valid), pseudo_labels(logits.float().softmax(1), valid)
    torch.testing.assert_close(found.confidence, wanted.confidence, rtol=0, atol=1e-6)
    # Of equal probabilities either may be named.
    assert (found.labels == wanted.labels).float().mean() > 0.999
    assert found.probabilities is None


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.5, 0.8, 1.0]))
def test_confident_fraction_counts_valid_pixels_only(seed: int, threshold: float) -> None:
    probabilities, valid = random_case(seed)
    # Confidence that lies in the padding too: it must not be counted even where it is high.
    confidence = probabilities.max(dim=1).values
    found = confident_fraction(confidence, valid, threshold, per="batch")
    per_image = confident_fraction(confidence, valid, threshold, per="image")
    assert found.shape == (1, 1, 1)
    assert per_image.shape == (2, 1, 1)
    pixels = [[], []]  # type: list[list[bool]]
    for b, row, column in np.argwhere(valid.numpy()):
        pixels[b].append(bool(confidence[b, row, column] > threshold))
    assert float(found) == pytest.approx(np.mean(pixels[0] + pixels[1]))
    for b in range(2):
        assert float(per_image[b]) == pytest.approx(np.mean(pixels[b]))


@pytest.mark.parametrize("per", ["batch", "image"])
def test_nothing_valid_is_nothing_confident(per: str) -> None:
    share = confident_fraction(torch.ones(2, 3, 3), torch.zeros(2, 3, 3).bool(), 0.5, per)
    assert torch.equal(share, torch.zeros_like(share))
