"""The directions in which the parts of the package may know each other."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("mixseg", "tools", "benchmarks", "examples")
    for path in (ROOT / folder).rglob("*.py")
)
SHARED = {
    "charts",
    "config",
    "distributed",
    "errors",
    "files",
    "ignore",
    "interruption",
    "randomness",
    "tables",
    "terminal",
}
MODULES = {"pyyaml": "yaml", "pillow": "PIL"}
"""Distributions whose module has another name."""


def imports(file: str) -> set[str]:
    """Full names of all modules that a file imports, at any depth of its code."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            assert node.module is not None
            found.add(node.module)
            if node.module == "mixseg":
                found |= {f"mixseg.{alias.name}" for alias in node.names}
    return found


def parts(file: str) -> set[str]:
    """The direct children of mixseg that a file imports."""
    return {name.split(".")[1] for name in imports(file) if name.startswith("mixseg.")}


def below(part: str) -> list[str]:
    return [file for file in FILES if file.startswith(f"mixseg/{part}/")]


@pytest.mark.parametrize("part", ["data", "models", "mixing", "targets", "losses"])
def test_components_do_not_know_each_other(part: str) -> None:
    assert below(part)
    for file in below(part):
        assert parts(file) <= SHARED | {part}, file


def test_scenes_know_nothing_but_data() -> None:
    assert below("scenes")
    for file in below("scenes"):
        assert parts(file) <= SHARED | {"data", "scenes"}, file


def test_the_engine_knows_no_method() -> None:
    assert below("engine")
    for file in below("engine"):
        assert not parts(file) & {"methods", "mixing", "targets", "losses", "regularizers"}, file


def test_evaluation_knows_neither_methods_nor_engine() -> None:
    assert below("evaluation")
    for file in below("evaluation"):
        unknown = {"methods", "engine", "mixing", "targets", "losses", "regularizers", "analysis"}
        assert not parts(file) & unknown, file


def test_regularizers_know_no_method() -> None:
    assert below("regularizers")
    for file in below("regularizers"):
        assert not parts(file) & {"methods", "data", "evaluation", "training"}, file


def test_methods_know_no_evaluation() -> None:
    for file in below("methods"):
        assert not parts(file) & {"evaluation", "regularizers", "training"}, file


def test_nothing_knows_the_commands() -> None:
    outside = [file for file in FILES if file.startswith("mixseg/")]
    outside = [file for file in outside if file not in ("mixseg/cli.py", "mixseg/__main__.py")]
    assert below("commands")
    for file in outside:
        assert "cli" not in parts(file), file
        assert "commands" not in parts(file) or file in below("commands"), file


def test_what_is_shared_knows_nothing_else() -> None:
    for name in SHARED:
        for file in below(name) or [f"mixseg/{name}.py"]:
            assert parts(file) <= SHARED, file


@pytest.mark.parametrize("file", FILES)
def test_third_party_packages_are_declared(file: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    entries = project["dependencies"] + extras["plots"]
    names = {re.split(r"[\[<>=!~; ]", entry)[0].lower() for entry in entries}
    declared = {MODULES.get(name, name.replace("-", "_")) for name in names}
    used = {name.split(".")[0] for name in imports(file)}
    assert used - declared - set(sys.stdlib_module_names) <= {"mixseg", "benchmarks", "tests"}


def imported_at_once(node: ast.AST) -> Iterator[str]:
    """What code imports when it is imported itself: everything that no function waits with."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        elif isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue  # by nobody but mypy
        elif not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from imported_at_once(child)


@pytest.mark.parametrize("file", FILES)
def test_extras_are_imported_only_where_they_are_used(file: str) -> None:
    extras = ("torch.utils.tensorboard", "tensorboard", "matplotlib")
    for name in imported_at_once(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
        assert not f"{name}.".startswith(tuple(f"{extra}." for extra in extras)), name
