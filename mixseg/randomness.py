"""Random generators that are pure functions of what they are for."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import torch


def derive_seed(*key: int | str) -> int:
    """A 63-bit seed that depends on every part of the key, for example (seed, "crop", epoch, 17).

    Hashing keeps streams with neighboring keys independent, which adding numbers would not.
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in key)
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(*key: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator seeded by :func:`derive_seed`."""
    return torch.Generator(device=device).manual_seed(derive_seed(*key))


class StepRandom(NamedTuple):
    """New generators for each step; their numbers depend on the seed and the step alone.

    Attributes:
        host: On the CPU, for decisions of the host.
        device: On the device of the images, for random tensors.
        step: Number of the step, from 0.
    """

    host: torch.Generator
    device: torch.Generator
    step: int

    @classmethod
    def of(cls, seed: int, step: int, micro_batch: int, device: torch.device) -> StepRandom:
        """The generators of one micro-batch; a step that accumulates has several."""
        return cls(
            generator(seed, "host", step, micro_batch),
            generator(seed, "device", step, micro_batch, device=device),
            step,
        )
