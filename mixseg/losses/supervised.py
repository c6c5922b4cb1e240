"""Supervised losses by name, and weighted sums of them (Lourenço, section IV)."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from torch import Tensor

from mixseg.config.options import parameters_of
from mixseg.errors import ConfigError, unknown_name
from mixseg.registry import LOSSES, terms_of

SupervisedLoss = Callable[[Tensor, Tensor], Tensor]
"""(logits float (B, C, H, W), targets) -> float32 scalar, float64 for float64 logits.

Targets are int64 labels of shape (B, H, W) with 255 = ignore, or float distributions of shape
(B, C, H, W) that are all zero where a pixel is ignored. Ignored pixels are not counted by any mean;
a batch without any other gives 0 with a zero gradient, not NaN. No host-device synchronization.
Collective: every process must call it.
"""


def parse_loss_sum(text: str, choices: Collection[str]) -> dict[str, float]:
    """Read the factor of each loss in a sum such as ``cross-entropy + 0.5*dice``.

    Args:
        text: Terms ``NAME`` or ``FACTOR*NAME``, joined by +. White space may stand around names,
            factors and signs.
        choices: Names that exist.

    Raises:
        ConfigError: A term is empty, names no choice or one that was there before, or has a factor
            that is not a finite number above 0.
    """
    factors: dict[str, float] = {}
    where = f"supervised_loss.name {text!r}"
    for factor, name in terms_of(text):
        if not name:
            raise ConfigError(
                f"{where}: a name is missing; expected one or a sum as in cross-entropy + 0.5*dice"
            )
        if name not in choices:
            raise ConfigError(f"{where}: {unknown_name('loss', name, choices)}")
        if name in factors:
            raise ConfigError(f"{where}: {name} is there twice; give it once, with one factor")
        factors[name] = 1.0 if factor is None else _factor(factor, where)
    return factors


def _factor(text: str, where: str) -> float:
    try:
        factor = float(text)
    except ValueError:
        factor = math.nan
    if not 0 < factor < math.inf:
        raise ConfigError(f"{where}: a factor must be a finite number above 0, found {text!r}")
    return factor


def weighted_sum(terms: Sequence[tuple[float, SupervisedLoss]]) -> SupervisedLoss:
    """A loss that is the sum of factor times loss; with one term of factor 1 that loss itself.

    Args:
        terms: Factors and losses, at least one.
    """
    if len(terms) == 1 and terms[0][0] == 1:
        return terms[0][1]

    def of_all_terms(logits: Tensor, targets: Tensor) -> Tensor:
        (factor, loss), *others = terms
        total = factor * loss(logits, targets)
        for factor, loss in others:
            total = total + factor * loss(logits, targets)
        return total

    return of_all_terms


def build_loss(
    name: str, options: Mapping[str, Any], class_shares: Tensor | None
) -> SupervisedLoss:
    """The loss of a name, or the weighted sum of several.

    Args:
        name: A name in :data:`mixseg.registry.LOSSES`, or a sum as in :func:`parse_loss_sum`.
        options: Setting path -> value, of the options of the losses.
        class_shares: float, shape (C,), on the device of the logits: share of each class;
            None where no loss needs them.

    Raises:
        ConfigError: The name cannot be read, or shares are needed and None.
    """
    factors = parse_loss_sum(name, tuple(LOSSES))
    asking = [one for one in factors if "class_shares" in parameters_of(LOSSES.signature(one))]
    if class_shares is None and asking:
        raise ConfigError(f"supervised_loss.name: {asking[0]} needs the share of each class")
    return weighted_sum(
        [
            (factor, LOSSES.build(one, options, class_shares=class_shares))
            for one, factor in factors.items()
        ]
    )
