"""Flags of the commands: ranges, lists, and what messages name."""

from __future__ import annotations

import re

import pytest

from mixseg.cli import COMMANDS
from mixseg.commands.inference import add_inference_arguments
from mixseg.commands.parsing import Parser
from mixseg.config.flags import typed_overrides
from mixseg.config.values import FlagType
from mixseg.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "given", "missing"),
    [
        ("predict", [], {"checkpoint", "paths", "--output"}),
        ("predict", ["run", "photo.png"], {"--output"}),
        ("export", ["run"], {"--output"}),
        ("make-demo", [], {"--out"}),
        ("evaluate", [], {"checkpoint"}),
        ("ablate", [], {"grid"}),
        ("compare", [], {"runs"}),
    ],
)
def test_what_is_missing_is_named_as_it_is_typed(
    name: str, given: list[str], missing: set[str]
) -> None:
    with pytest.raises(ConfigError) as error:
        COMMANDS[name].load()(given)
    assert set(re.split(r"[ ,]+", str(error.value).partition(": ")[2])) == missing


def test_a_wrong_value_is_told_of_its_flag() -> None:
    parser = Parser("program", "A program.")
    parser.add("number", "", int)
    parser.add("--batch-size", "", int)
    for arguments, start in ((["x"], "number: "), (["3", "--batch-size", "x"], "--batch-size: ")):
        with pytest.raises(ConfigError, match=f"^{start}"):
            parser.read(arguments)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_number_has_a_range(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parsers: list[Parser] = []

    def read(parser: Parser, arguments: list[str]) -> None:
        parsers.append(parser)
        raise ConfigError("read")

    monkeypatch.setattr(Parser, "read", read)
    with pytest.raises(ConfigError, match="read"):
        COMMANDS[name].load()([])
    for action in parsers[0]._actions:
        flag = (action.option_strings or [action.dest])[0]
        assert action.type not in (int, float), f"{flag} has no range"
        if not isinstance(action.type, FlagType):
            continue
        allowed = action.type.allowed
        if allowed is None:
            assert not re.search(r"\b(int|float)\b", str(action.type.hint)), f"{flag} has no range"
            continue
        for value in (f"{allowed.low - 1:.0f}", f"{2 * allowed.high + 1:.0f}", "nan", "1e999", "x"):
            with pytest.raises(ConfigError, match=f"^{flag}: expected"):
                action.type(value)


@pytest.mark.parametrize("text", ["0.5,2", "[0.5, 2]", "0.5, 2", "[0.5,2]", "0.5 2"])
def test_lists_are_typed_alike_everywhere(text: str) -> None:
    inference = Parser("test", "")
    add_inference_arguments(inference)
    assert inference.read(["RUN", "--scales", text]).scales == (0.5, 2.0)
    parsed = Parser("test", "", settings=True).read(["--data.scale", text])
    assert typed_overrides(parsed, [f"mixing.sigma={text}"]) == {
        "data.scale": (0.5, 2.0),
        "mixing.sigma": (0.5, 2.0),
    }
    with pytest.raises(ConfigError):  # the range holds for lists as well
        typed_overrides(parsed, [f"schedule.momentum={text}"])
