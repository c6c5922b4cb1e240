"""The directions in which the parts of the package may know each other."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("mixseg", "tools", "benchmarks", "examples")
    for path in (ROOT / folder).rglob("*.py")
)
LAYERS = (
    # What is shared.
    "__version__ errors ignore randomness",
    "files interruption terminal",
    "charts distributed tables",
    "config plugins registry",
    # Parts, which do not know each other.
    "augmentation data losses mixing models styles",
    # What is made of them.
    "targets",
    "terms",
    "evaluation methods scenes",
    "regularizers training",
    "ablation analysis api",
    "commands",
    "cli",
    "__main__",
)
"""Modules and packages of mixseg from below upwards; each knows those below, and itself."""

TOGETHER = ("config plugins registry", "regularizers training")
"""Those that know each other."""

EXTRAS = ("torch.utils.tensorboard.", "tensorboard.", "onnx.", "onnxscript.", "matplotlib.")
MODULES = {"pyyaml": "yaml", "pillow": "PIL"}
"""Distributions whose module has another name."""


def imports(node: ast.AST, *, at_once: bool = False) -> Iterator[str]:
    """Full names of all that code imports; at once: when it is imported itself."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "relative import"
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        elif isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue  # by nobody but mypy
        elif not (at_once and isinstance(child, ast.FunctionDef | ast.Lambda)):
            yield from imports(child, at_once=at_once)


TREES = {file: ast.parse((ROOT / file).read_text(encoding="utf-8")) for file in FILES}


def test_nothing_imports_upwards() -> None:
    known = {name: level for level, names in enumerate(LAYERS) for name in names.split()}
    wrong = []
    for file, tree in TREES.items():
        if not file.startswith("mixseg/") or file == "mixseg/__init__.py":
            continue
        own = file.split("/")[1].removesuffix(".py")
        for name in {one.split(".")[1] for one in imports(tree) if one.startswith("mixseg.")}:
            beside = known[name] == known[own] and LAYERS[known[own]] in TOGETHER
            if not (known[name] < known[own] or name == own or beside):
                wrong.append(f"{file} imports mixseg.{name}")
    assert not wrong


def test_third_party_packages_are_declared_and_extras_imported_where_they_are_used() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    entries = project["dependencies"] + extras["plots"]
    names = {re.split(r"[\[<>=!~; ]", entry)[0].lower() for entry in entries}
    declared = {MODULES.get(name, name.replace("-", "_")) for name in names}
    declared |= {"mixseg", "benchmarks", "tests", *sys.stdlib_module_names}
    wrong = []
    for file, tree in TREES.items():
        wrong += [(file, one) for one in imports(tree) if one.split(".")[0] not in declared]
        at_once = imports(tree, at_once=True)
        wrong += [(file, one) for one in at_once if f"{one}.".startswith(EXTRAS)]
    assert not wrong
