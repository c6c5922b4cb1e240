"""YAML that is read as plain data: no tags, no aliases, no duplicate keys, and known lines.

PyYAML's safe loader alone keeps the last of two equal keys, reads ``1e-4`` as a string and
expands nested aliases without limit. Here all three are settled before anything else sees the
file, and every value remembers its line so that later checks can point at it.
"""

from __future__ import annotations

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


@final
@dataclass(frozen=True)
class LoadedYaml:
    """The content of a YAML file and the line of every key.

    Attributes:
        path: The file, for messages.
        data: The content; the top level is always a mapping.
        lines: Key path -> line, counted from 1.
    """

    path: Path
    data: dict[str, Any]
    lines: dict[KeyPath, int]

    def line(self, key_path: KeyPath) -> int:
        """The line of a key, or of its nearest parent that is in the file."""
        while key_path and key_path not in self.lines:
            key_path = key_path[:-1]
        return self.lines.get(key_path, 1)


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses tags, aliases, duplicate keys and deep nesting."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):  # type: ignore[no-untyped-call]
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="aliases (*name) are not allowed", problem_mark=mark)
        tag = getattr(self.peek_event(), "tag", None)  # type: ignore[no-untyped-call]
        if tag is not None:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem=f"tags ({tag}) are not allowed", problem_mark=mark)
        self.depth += 1
        if self.depth > MAX_DEPTH:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(
                problem=f"nested deeper than {MAX_DEPTH} levels", problem_mark=mark
            )
        node: yaml.Node | None = super().compose_node(parent, index)  # type: ignore[no-untyped-call]
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(
                    problem="a key must be a plain name", problem_mark=key.start_mark
                )
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"duplicate key {key.value!r}, first given in line {seen[key.value]}",
                    problem_mark=key.start_mark,
                )
            seen[key.value] = key.start_mark.line + 1
        return super().construct_mapping(node, deep)


# YAML 1.1 wants a dot in floats; people write 1e-4.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def load_yaml(path: Path) -> LoadedYaml:
    """Read a YAML file whose top level is a mapping.

    Raises:
        ConfigError: The file is missing, larger than 1 MB, not UTF-8, not YAML, or uses a tag, an
            alias or a duplicate key; the message names the line.
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
            return LoadedYaml(path, {}, {})
        data = loader.construct_document(node)  # type: ignore[no-untyped-call]
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # ValueError: PyYAML lets a malformed timestamp or an endless integer escape as one.
        mark = getattr(error, "problem_mark", None)
        where = f"{path}, line {mark.line + 1}" if mark is not None else str(path)
        problem = getattr(error, "problem", None) or str(error)
        raise ConfigError(f"{where}: {problem}") from error
    finally:
        if loader is not None:
            loader.dispose()  # type: ignore[no-untyped-call]
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected 'key: value' lines, found {type(data).__name__}")
    lines: dict[KeyPath, int] = {}
    _collect_lines(node, (), lines)
    return LoadedYaml(path, data, lines)


def _collect_lines(node: yaml.Node, key_path: KeyPath, lines: dict[KeyPath, int]) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            lines[(*key_path, key.value)] = key.start_mark.line + 1
            _collect_lines(value, (*key_path, key.value), lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*key_path, index)] = value.start_mark.line + 1
            _collect_lines(value, (*key_path, index), lines)
