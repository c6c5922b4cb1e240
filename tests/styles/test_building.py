"""A method that asks for a style is given the one that its run names."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from torch import Tensor, nn

from mixseg.config.effect import check_flags
from mixseg.config.resolve import resolve_settings
from mixseg.config.schema import to_flat
from mixseg.errors import ConfigError
from mixseg.methods import Method
from mixseg.registry import METHODS, Registry
from mixseg.styles import FourierStyle, Style
from mixseg.training.build import Given
from tests.methods.build import build


@pytest.fixture
def styled() -> Iterator[str]:
    """Name of a method with a style, which is gone after the test."""

    @METHODS.register("styled")
    class Styled(Method):
        """Does nothing."""

        def __init__(self, student: nn.Module, *, style: Style | None) -> None:
            self.student = student  # type: ignore[assignment]
            self.style = style
            self.networks = {}

        def step(self, batch: object, rng: object, backward: object) -> dict[str, Tensor]:
            return {}

        def after_update(self, step: int) -> None:
            return None

    yield "styled"
    del METHODS._known()["styled"]
    Registry.version += 1  # what is remembered of this one is of no other


def test_by_default_there_is_none(styled: str) -> None:
    assert build(styled).style is None


def test_with_its_options(styled: str) -> None:
    changes = {"style.name": "fourier", "style.beta": 0.05, "style.drawn": True}
    found = build(styled, changes).style
    assert isinstance(found, FourierStyle)
    assert (found.beta, found.drawn) == (0.05, True)
    values = to_flat(resolve_settings([], {"method": styled, **changes}))
    assert check_flags(["style.name", "style.beta"], values) == []


def test_an_object_stands_in(styled: str) -> None:
    given = FourierStyle()
    assert build(styled, given=Given(objects={"style": given})).style is given


def test_a_flag_of_another_style_or_of_a_method_without_one_is_refused(styled: str) -> None:
    values = to_flat(resolve_settings([], {"method": styled, "style.name": "color-statistics"}))
    with pytest.raises(ConfigError, match=r"--style\.beta.*--style fourier"):
        check_flags(["style.beta"], values)
    values = to_flat(resolve_settings([], {"style.name": "fourier"}))
    with pytest.raises(ConfigError, match=r"--style .*a method that takes it.*styled"):
        check_flags(["style.name"], values)
