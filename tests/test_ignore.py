"""Maximum and argmax are those of torch."""

from __future__ import annotations

import pytest
import torch

from mixseg.ignore import max_and_argmax


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_as_torch(dtype: torch.dtype, layout: torch.memory_format) -> None:
    for classes in (1, 2, 19, 256):
        random = torch.Generator().manual_seed(classes)
        scores = torch.randn(2, classes, 7, 5, generator=random).to(dtype, memory_format=layout)
        before = scores.clone()
        values, found = max_and_argmax(scores)
        assert torch.equal(scores, before)
        assert torch.equal(values, scores.amax(dim=1))
        assert found.dtype == torch.uint8
        assert torch.equal(scores.gather(1, found.long().unsqueeze(1)).squeeze(1), values)


def test_of_equal_scores_the_first() -> None:
    scores = torch.tensor([1.0, 3.0, -torch.inf, 3.0]).view(1, 4, 1, 1)
    assert max_and_argmax(scores)[1].item() == 1
    assert max_and_argmax(torch.full((1, 5, 2, 2), -torch.inf))[1].unique().tolist() == [0]
