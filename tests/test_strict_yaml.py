"""YAML as plain data: what is refused says where, and nothing else ever escapes."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mixseg.config.saved import dump_settings
from mixseg.config.sections import Settings
from mixseg.errors import ConfigError
from mixseg.strict_yaml import dump_yaml, load_yaml, parse_yaml

HERE = Path("file.yaml")
VALID = dump_settings(Settings())


OTHERS = ("010", "-07", "08", "0o7", "0x1F", "0b1", "1_000", "1:30", "1:8", "2001-01-01", "1:30.5")
"""What YAML 1.1 and 1.2 read differently, without a character that a regular expression knows."""


def parse(text: str) -> dict[str, object]:
    return parse_yaml(text, HERE).data


NUMBERS = {
    "1e-4": 1e-4, "1E5": 1e5, "-2e3": -2000.0, "+.5e1": 5.0, "3.e2": 300.0, "0.1": 0.1, "10": 10,
    "true": True, "null": None, "1e": "1e", "e5": "e5", "1/8": "1/8", "1e-4x": "1e-4x",
    "'1e-4'": "1e-4", "07.5": 7.5, "-0": 0, "-.inf": -math.inf, "yes": "yes",
    "[no, y, N, Off]": ["no", "y", "N", "Off"], "=": "=", "'<<'": "<<", "'010'": "010",
    "0:30": "0:30", "1:99": "1:99", "0x": "0x",
}  # fmt: skip


@pytest.mark.parametrize("text", NUMBERS)
def test_numbers_as_people_write_them(text: str) -> None:
    found = parse(f"a: {text}")["a"]
    assert found == NUMBERS[text]
    assert type(found) is type(NUMBERS[text])


@settings(max_examples=100, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_comes_back(value: float) -> None:
    assert math.isclose(float(parse(f"a: {value!r}")["a"]), value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "duplicate key 'a', first given in line 1"),
        ("a:\n  b: 1\n  b: 2\n", 3, "duplicate key 'b'"),
        ("x: 1\na: !!python/object/apply:os.system ['true']\n", 2, "tag"),
        ("a: !!python/name:os.system\n", 1, "tag"),
        ("a: !!binary aGk=\n", 1, "tag"),
        ("a: !local 1\n", 1, "tag"),
        ("a: !!bool maybe\n", 1, "tag"),
        ("a: !!float ''\n", 1, "tag"),
        ("a: !!int ''\n", 1, "tag"),
        ("a: !!timestamp x\n", 1, "tag"),
        ("a: !!pairs [[x]: y]\n", 1, "tag"),
        ("a: {7: 1,\n  07: 2}\n", 2, "07"),
        ("a: {7: 1,\n  7.0: 2}\n", 2, "duplicate key '7.0', first given in line 1"),
        ("a: {1: 1,\n  '1': 2}\n", 2, "duplicate key '1'"),
        ("a: {1: 1,\n  true: 2}\n", 2, "duplicate key 'true'"),
        ("a: {.nan: 1,\n  .nan: 2}\n", 2, "duplicate key"),
        ("a: {x: 1}\nb:\n  <<: {x: 2}\n", 3, "merge key"),
        *((f"a: 1\nb: [{text}]\n", 2, text) for text in OTHERS),
        ("a: 0x" + 9000 * "f", 1, "0xfff"),
        ("a: " + 5000 * "9", 1, "5000 digits"),
        ("a: 1e-999", 1, "1e-999"),
        ("a: &x 1\nb: *x\n", 2, "alias"),
        ("a: &x [*x]\n", 1, "alias"),
        ("a: " + "[" * 50 + "]" * 50, 1, "nested deeper"),
        ("? [a, b]\n: 1\n", 1, "plain name"),
        ("a: [1, 2\n", 2, "expected"),
        ("a: 1\n\tb: 2\n", 2, "tab|token|mapping"),
        ("a: 1\n---\nb: 2\n", 2, "document"),
    ],
)
def test_refused_with_its_line(text: str, line: int, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"file\.yaml, line {line}: .*({message})"):
        parse(text)


@pytest.mark.parametrize("text", ["- 1\n- 2\n", "text", "5", "a: \x00"])
def test_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"file\.yaml"):
        parse(text)


def test_an_alias_bomb_costs_nothing() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    with pytest.raises(ConfigError, match=r"line 2: aliases"):
        parse("\n".join(lines))


def test_empty_is_empty() -> None:
    assert parse("") == parse("# nothing\n") == {}


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    for content, problem in ((b"a: " + b"x" * 1_000_000, "1000003"), (b"a: \xff\xfe", "UTF-8")):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=rf"a\.yaml: .*{problem}"):
            load_yaml(path)
    for missing in (tmp_path / "b.yaml", tmp_path):
        with pytest.raises(ConfigError, match="cannot be read"):
            load_yaml(missing)
    path.write_text("a:\n  b: 1\n  c: [1,\n    2]\nd: 2\n")
    loaded = load_yaml(path)
    for key, line in ((("a", "b"), 2), (("a", "c", 1), 4), (("a", "unknown"), 1), (("d",), 5)):
        assert loaded.line(key) == line


PIECES = [*"ab01:-?,[]{}#&*!|>'\"%@`\n \t.~=<+eE_/\\\x00", "!!", "<<", "é", ": ", "\n- "]
YAML_LIKE = st.lists(st.sampled_from(PIECES), max_size=40).map("".join)


def parses_or_refuses(text: str) -> None:
    try:
        loaded = parse_yaml(text, HERE)
    except ConfigError as error:
        assert "file.yaml" in str(error)
    else:
        assert isinstance(loaded.data, dict)


@settings(max_examples=150, deadline=None)
@given(YAML_LIKE)
@example("a: =")
@example("=: 1")
@example("<<: 5")
@example("<<: [{a: 1}, b]")
@example("a: !!set {b}")
@example("a: 0b_")
@example("a: 1_e5")
@example("a: ._")
@example("a: 2001-01-01 99:99:99")
@example("a: 0001-01-01 00:00:00 +23:59")
@example("a: " + "9" * 5000)
@example("{" * 500)
@example("a: {? {b: c} : d}")
@example("\ud800")
def test_random_text_is_parsed_or_refused(text: str) -> None:
    parses_or_refuses(text)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, len(VALID) - 1),
    st.integers(0, 12),
    st.text(alphabet=st.sampled_from([*"{}[]!&*:-'\"\n \t%|>0e."]), max_size=4),
)
def test_mutated_settings_are_parsed_or_refused(place: int, removed: int, inserted: str) -> None:
    parses_or_refuses(VALID[:place] + inserted + VALID[place + removed :])


def test_agrees_with_pyyaml_on_plain_files() -> None:
    assert parse(VALID) == yaml.safe_load(VALID)


NUMBER_LIKE = st.text(alphabet="0123456789+-_.:eExob~<=infaTZ ", min_size=1, max_size=10)


@settings(max_examples=200, deadline=None)
@given(NUMBER_LIKE)
@example("010")
@example("1:8")
@example("+0x_1")
@example("1_0.5")
def test_no_number_is_another_one_to_readers_of_yaml_1_1(text: str) -> None:
    try:
        found = parse(f"a: [{text}]")["a"]
        old = yaml.safe_load(f"a: [{text}]")["a"]
    except (ConfigError, yaml.YAMLError, ValueError):
        return
    for new, before in zip(found, old, strict=True):  # type: ignore[call-overload]
        if isinstance(new, dict):  # 1: is a key
            continue
        if isinstance(new, str):
            assert isinstance(before, str | bool)
        elif isinstance(before, str):  # as people write it: 1e-4
            assert float(before) == new
        else:
            assert new == before or (new != new and before != before)


WORDS = st.sampled_from(
    [*OTHERS, "yes", "on", "true", "null", "~", "", "=", "<<", "1e-4", "1.e4", "5", ".5", ".inf"]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    st.text(st.characters(codec="utf-8"), max_size=20),
    NUMBER_LIKE,
    WORDS,
)
KEYS = st.one_of(st.text(st.characters(codec="utf-8"), max_size=9), NUMBER_LIKE, WORDS)


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(
        KEYS,
        st.recursive(
            SCALARS, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=6
        ),
    )
)
@example({"08": ["0o7", "1e-4", "1_000"]})
def test_what_is_written_is_read_back(data: dict[str, object]) -> None:
    found = parse(dump_yaml(data))
    assert found == data
    assert repr(found) == repr(data)  # 1, 1.0 and True are equal
