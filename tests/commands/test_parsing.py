"""Lists are typed in one way for all commands."""

from __future__ import annotations

import pytest

from mixseg.commands.inference import add_inference_arguments
from mixseg.commands.parsing import Parser
from mixseg.config.flags import typed_overrides
from mixseg.config.resolve import resolve_settings
from mixseg.config.values import FlagText
from mixseg.errors import ConfigError


@pytest.mark.parametrize("text", ["0.5,2", "[0.5, 2]", "0.5, 2", "[0.5,2]", "0.5 2"])
def test_lists_are_typed_alike_everywhere(text: str) -> None:
    inference = Parser("test", "")
    add_inference_arguments(inference)
    assert inference.read(["RUN", "--scales", text]).scales == (0.5, 2.0)
    parsed = Parser("test", "", settings=True).read(["--data.scale", text])
    overrides = typed_overrides(parsed, [f"mixing.sigma={text}"])
    settings = resolve_settings([], overrides | {"mixing.mixer": "cowmix", "data.crop": (64, 64)})
    assert settings.data.scale == settings.options["mixing.sigma"] == (0.5, 2.0)
    with pytest.raises(ConfigError):  # a range holds for lists as well
        resolve_settings([], {"mixing.mixer": "cowmix", "mixing.proportion": FlagText(text)})
