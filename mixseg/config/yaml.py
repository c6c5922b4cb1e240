"""YAML that is read as plain data: no tags, aliases, merge keys or duplicate keys, and known lines.

Plain words and numbers are those of YAML 1.2's core schema: ``true``, ``false``, ``null`` and
decimal numbers; anything else is text. PyYAML follows YAML 1.1, in which ``010`` is 8, ``1:30`` is
90 and ``2001-01-01`` a date: where the two disagree about a number, the file is refused. ``yes``,
``no``, ``on`` and ``off`` are text. Every value remembers its line, so that later checks can point
at it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import yaml

from mixseg.errors import ConfigError
from mixseg.files import read_text

MAX_BYTES = 1_000_000
MAX_DEPTH = 32

KeyPath = tuple[str | int, ...]


_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
_OTHER_INT = re.compile(r"[-+]?0[0-9]+|0o[0-7]+")
"""Numbers of the core schema that YAML 1.1 reads as others, or as text."""

_MAX_DIGITS = 400

_TAG = "tag:yaml.org,2002:"


@final
@dataclass(frozen=True)
class LoadedYaml:
    """The content of a YAML file and the line of every key.

    Attributes:
        path: The file, for messages.
        data: The content; the top level is always a mapping.
        lines: Key path -> line, counted from 1.
        texts: Key path -> how a scalar is written.
    """

    path: Path
    data: dict[str, Any]
    lines: dict[KeyPath, int]
    texts: dict[KeyPath, str]

    def line(self, key_path: KeyPath) -> int:
        """The line of a key, or of its nearest parent that is in the file."""
        while key_path and key_path not in self.lines:
            key_path = key_path[:-1]
        return self.lines.get(key_path, 1)


class _Loader(yaml.SafeLoader):
    """Refuses tags, aliases, merge keys, duplicate keys, deep nesting and doubtful numbers."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent):  # type: ignore[no-untyped-call]
            raise _refused("aliases (*name) are not allowed", mark)
        tag = getattr(self.peek_event(), "tag", None)  # type: ignore[no-untyped-call]
        if tag is not None:
            raise _refused(f"tags ({tag}) are not allowed", mark)
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _refused(f"nested deeper than {MAX_DEPTH} levels", mark)
        node: yaml.Node | None = super().compose_node(parent, index)  # type: ignore[no-untyped-call]
        self.depth -= 1
        if isinstance(node, yaml.ScalarNode) and node.style is None:
            node.tag = _tag_of(node)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: dict[Hashable, yaml.Node] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _refused("a key must be a plain name", key.start_mark)
            # 1, 1.0 and "1" are one key: to Python as values, or to whoever reads them as text.
            for same in (key.value, self.construct_object(key)):  # type: ignore[no-untyped-call]
                first = seen.setdefault(same, key)
                if first is not key:
                    raise _refused(
                        f"duplicate key {key.value!r}, first given in line "
                        f"{first.start_mark.line + 1}",
                        key.start_mark,
                    )
        return super().construct_mapping(node, deep)


def _refused(problem: str, mark: yaml.Mark) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def _tag_of(node: yaml.ScalarNode) -> str:
    """The tag of a plain scalar.

    Raises:
        yaml.MarkedYAMLError: YAML 1.1 and 1.2 read different things in it, or no number holds it.
    """
    text: str = node.value
    if _NULL.fullmatch(text):
        return f"{_TAG}null"
    if _BOOL.fullmatch(text):
        return f"{_TAG}bool"
    if _FLOAT.fullmatch(text) and not _OTHER_INT.fullmatch(text):
        _check_number(text, node.start_mark)
        return f"{_TAG}int" if _INT.fullmatch(text) else f"{_TAG}float"
    if text == "<<":
        raise _refused("merge keys (<<) are not allowed; write the keys out", node.start_mark)
    kind = node.tag.removeprefix(_TAG)  # as YAML 1.1 reads it
    if kind in ("int", "float", "timestamp") or _OTHER_INT.fullmatch(text):
        what = "a date" if kind == "timestamp" else "a number in a notation"
        raise _refused(
            f"{text[:40]} is {what} that programs read differently: write a decimal number "
            f"without leading zeros, such as 10 or 2.5e-4, or, if it is a text, '{text[:40]}' in "
            "quotes",
            node.start_mark,
        )
    return f"{_TAG}str"


def _check_number(text: str, mark: yaml.Mark) -> None:
    if len(text) > _MAX_DIGITS:
        raise _refused(f"a number of {len(text)} digits", mark)
    if "n" in text.lower():  # .inf and .nan
        return
    value = float(text)
    mantissa = text.lower().partition("e")[0]
    if math.isinf(value) or (value == 0 and re.search("[1-9]", mantissa)):
        raise _refused(f"{text[:40]} is beyond the numbers that a computer holds", mark)


class _Dumper(yaml.SafeDumper):
    """Quotes texts that would not be read back as they are."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        # PyYAML writes these line breaks as they are between single quotes, and reads blanks.
        style = '"' if re.search(r"[\x85\u2028\u2029]", data) else None
        return self.represent_scalar(f"{_TAG}str", data, style)


_Dumper.add_representer(str, _Dumper.represent_str)

for _pattern in (_OTHER_INT, _FLOAT):
    # Also what YAML 1.1 takes for text: 1e-4 and 08.
    _Dumper.add_implicit_resolver("!number", re.compile(f"^(?:{_pattern.pattern})$"), None)


def dump_yaml(data: Any) -> str:
    """YAML of dictionaries, lists and scalars that :func:`load_yaml` reads back as they are."""
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return text


def load_yaml(path: Path) -> LoadedYaml:
    """Read a YAML file whose top level is a mapping.

    Raises:
        ConfigError: The file is missing, larger than 1 MB, not UTF-8, not YAML, or uses a tag, an
            alias, a merge key, a duplicate key or a number that YAML 1.1 and 1.2 read differently;
            the message names the line.
    """
    try:
        text = read_text(path, MAX_BYTES)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text") from error
    return parse_yaml(text, path)


def parse_yaml(text: str, path: Path) -> LoadedYaml:
    """Parse YAML text; ``path`` is only used in messages. Errors as in :func:`load_yaml`."""
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return LoadedYaml(path, {}, {}, {})
        data = loader.construct_document(node)  # type: ignore[no-untyped-call]
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}, line {mark.line + 1}" if mark is not None else str(path)
        problem = getattr(error, "problem", None) or str(error)
        raise ConfigError(f"{where}: {problem}") from error
    finally:
        if loader is not None:
            loader.dispose()  # type: ignore[no-untyped-call]
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected 'key: value' lines, found {type(data).__name__}")
    loaded = LoadedYaml(path, data, {}, {})
    _collect_places(node, (), loaded)
    return loaded


def _collect_places(node: yaml.Node, key_path: KeyPath, loaded: LoadedYaml) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            loaded.lines[(*key_path, key.value)] = key.start_mark.line + 1
            _collect_places(value, (*key_path, key.value), loaded)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            loaded.lines[(*key_path, index)] = value.start_mark.line + 1
            _collect_places(value, (*key_path, index), loaded)
    else:
        loaded.texts[key_path] = node.value
