"""Distribution alignment (Tranheden & Olsson, 2.5.6)."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mixseg.targets import DistributionAlignment


def answers(shares: Tensor, seed: int = 0, size: tuple[int, int, int] = (2, 16, 16)) -> Tensor:
    """Distributions whose mean is about ``shares``, shape (B, C, H, W)."""
    random = torch.Generator().manual_seed(seed)
    noise = torch.rand(size[0], len(shares), *size[1:], generator=random)
    mixed = noise * shares[:, None, None]
    return mixed / mixed.sum(1, keepdim=True)


def everywhere(probabilities: Tensor) -> Tensor:
    return torch.ones(probabilities[:, 0].shape, dtype=torch.bool)


def test_it_is_the_formula() -> None:
    wanted = torch.tensor([0.5, 0.25, 0.25])
    align = DistributionAlignment(wanted, alignment_decay=0.99)
    probabilities = answers(torch.tensor([0.1, 0.8, 0.1]))
    with torch.autocast("cpu", torch.bfloat16):  # changes nothing
        aligned = align(probabilities, everywhere(probabilities))
    running = 0.99 * wanted + 0.01 * probabilities.mean((0, 2, 3))
    torch.testing.assert_close(align.running, running)
    pixel = probabilities[1, :, 3, 7] * wanted / running
    torch.testing.assert_close(aligned[1, :, 3, 7], pixel / pixel.sum())


def test_padding_does_not_count() -> None:
    probabilities = answers(torch.tensor([0.1, 0.9]))
    valid = everywhere(probabilities)
    valid[:, :, 8:] = False
    cropped = probabilities[..., :8]
    one, other = (DistributionAlignment(torch.tensor([0.5, 0.5])) for _ in range(2))
    one(probabilities, valid)
    other(cropped, everywhere(cropped))
    torch.testing.assert_close(one.running, other.running)
    before = one.running.clone()
    one(probabilities, torch.zeros_like(valid))
    assert torch.equal(one.running, before)


@pytest.mark.parametrize("shares", [[3.0, 1.0, 0.0], [0.5, 0.5, 0.0]])
def test_any_shares_are_normalized_and_positive(shares: list[float]) -> None:
    align = DistributionAlignment(torch.tensor(shares))
    assert float(align.distribution.sum()) == pytest.approx(1)
    assert (align.distribution > 0).all()
    never = torch.zeros(1, 3, 2, 2)
    never[:, 0] = 1
    for _ in range(3000):
        aligned = align(never, everywhere(never))
    assert torch.isfinite(aligned).all()


def test_labels_follow_the_distribution_where_probabilities_alone_do_not() -> None:
    """A class that comes second everywhere has a right mean, and no label."""
    random = torch.Generator().manual_seed(0)
    wanted = torch.tensor([0.7, 0.3])
    rare = 0.3 + 0.1 * torch.rand(4, 1, 32, 32, generator=random)
    probabilities = torch.cat((1 - rare, rare), dim=1)
    shares = {}
    for kind in ("probabilities", "labels"):
        align = DistributionAlignment(wanted, alignment_decay=0.9, alignment_of=kind)
        for _ in range(400):
            aligned = align(probabilities, everywhere(probabilities))
        shares[kind] = float((aligned.argmax(dim=1) == 1).float().mean())
    assert shares["probabilities"] == 0
    assert shares["labels"] == pytest.approx(0.3, abs=0.05)
    # Among the pixels of a class the order of confidence stays: the likeliest 30 % get it.
    chosen = aligned.argmax(dim=1, keepdim=True) == 1
    assert float(rare[chosen].min()) >= float(rare[~chosen].max())


def test_a_resumed_alignment_of_labels_goes_on() -> None:
    wanted = torch.tensor([0.5, 0.25, 0.25])
    first, second = (DistributionAlignment(wanted, alignment_of="labels") for _ in range(2))
    given = [answers(torch.tensor([0.1, 0.8, 0.1]), seed) for seed in range(4)]
    for one in given[:2]:
        first(one, everywhere(one))
    for name, tensor in first.state.items():
        second.state[name].copy_(tensor)
    for one in given[2:]:
        assert torch.equal(first(one, everywhere(one)), second(one, everywhere(one)))
    nothing = torch.zeros_like(everywhere(one))
    before = first.bias.clone()
    first(one, nothing)
    assert torch.equal(first.bias, before) and bool(before.any())
