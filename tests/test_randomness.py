from __future__ import annotations

import subprocess
import sys

import torch
from hypothesis import given
from hypothesis import strategies as st

from mixseg.randomness import derive_seed, generator

KEYS = st.lists(st.integers() | st.text(max_size=5), min_size=1, max_size=4)


@given(KEYS)
def test_seeds_fit_torch_and_depend_on_the_key_alone(key: list[int | str]) -> None:
    seed = derive_seed(*key)
    assert 0 <= seed < 2**63
    assert derive_seed(*key) == seed


def test_every_part_counts() -> None:
    keys: list[tuple[int | str, ...]] = [(1,), ("1",), (1, 1), (11,), (1, "a"), ("a", 1)]
    keys += [("1", "1"), (-1,), (0,), ("",), ("", "")]
    assert len({derive_seed(*key) for key in keys}) == len(keys)


def test_the_same_in_another_process() -> None:
    # Python's own hash of text is not.
    code = "from mixseg.randomness import derive_seed; print(derive_seed(3, 'crop', 5))"
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert int(output) == derive_seed(3, "crop", 5)


def test_neighboring_keys_are_independent() -> None:
    draws = torch.stack([torch.rand(500, generator=generator(0, step)) for step in range(20)])
    correlation = torch.corrcoef(draws) - torch.eye(20)
    assert correlation.abs().max() < 0.2  # 4.5 standard errors


def test_generators_leave_the_global_state_alone() -> None:
    before = torch.get_rng_state()
    first = torch.rand(3, generator=generator("a", 1))
    assert torch.equal(first, torch.rand(3, generator=generator("a", 1)))
    assert torch.equal(before, torch.get_rng_state())
