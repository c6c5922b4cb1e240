"""Registries: every kind of part that settings can name, and where its name and options stand.

A part is a class (or a function that makes the part), registered by one line above it::

    @MIXERS.register("stripes")
    class StripeMix(Mixer):
        def __init__(self, stripes: Annotated[int, AtLeast(1)] = 8) -> None:
            \"\"\"Args: stripes: number of stripes across an image.\"\"\"

Parameters with a default are its options: flags, YAML keys, help and range checks are derived from
them. Parameters without one are given by the run, such as ``num_classes``.

What is registered inside the package is known before it is imported: signatures are read from the
source, because importing torch takes seconds and a mistyped flag should be told at once.
"""

from __future__ import annotations

import ast
import copy
import functools
import importlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, TypeVar, cast, final

from mixseg.config.options import Setting, options_of, parameters_of
from mixseg.errors import ConfigError, unknown_name
from mixseg.files import read_text

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from mixseg.augmentation.strong import Augmentation
    from mixseg.data.layout import Layout
    from mixseg.losses.consistency import Consistency
    from mixseg.losses.supervised import SupervisedLoss
    from mixseg.methods.method import Method
    from mixseg.mixing.mixer import Mixer
    from mixseg.models.architecture import Architecture
    from mixseg.regularizers.regularizer import Regularizer
    from mixseg.styles.style import Style
    from mixseg.targets.teacher import Teacher
    from mixseg.targets.weighting import Weighting
    from mixseg.terms.term import Term
    from mixseg.training.loggers.logger import Logger
    from mixseg.training.schedules import Schedule

T = TypeVar("T")
C = TypeVar("C", bound=Callable[..., Any])

ROOT = Path(__file__).parent

MORE: dict[str, Any] = {"type_params": []}
"""What Python 3.12 asks for in a definition, and 3.11 does not know."""

SIGNATURE_MODULES = ("typing", "mixseg.config")
"""Modules whose names may stand in the types of options; none of them imports torch."""


@final
@dataclass
class Entry:
    """A registered part.

    Attributes:
        part: The class or function; of a module that is not imported yet its bare signature.
        section: Where its options stand, if it says so itself.
        module: To be imported before it is used; empty once that is done.
    """

    part: Callable[..., Any]
    section: str | None = None
    module: str = ""


@final
class Registry(Generic[T]):
    """Name -> part of one kind.

    Attributes:
        kind: For messages.
        package: Whose modules register parts; adding a file to it is enough.
        section: Of the options; None if each part has a section named like itself.
    """

    version: ClassVar[int] = 0
    """Grows with every part that is registered from outside the package."""

    def __init__(self, kind: str, package: str, section: str | None) -> None:
        self.kind = kind
        self.package = package
        self.section = section
        self._entries: dict[str, Entry] | None = None

    def register(self, name: str, *, section: str | None = None) -> Callable[[C], C]:
        """Decorate a class, or a function that makes a part.

        Args:
            name: By which settings call it.
            section: Of its options, instead of the one of the registry.

        Raises:
            ConfigError: Another part has the name.
        """

        def add(part: C) -> C:
            known = self._known().get(name)
            if known is not None and known.module != part.__module__:
                where = getattr(sys.modules.get(part.__module__), "__file__", part.__module__)
                raise ConfigError(
                    f"{where}: there is a {self.kind} {name!r} already; give this one another name"
                )
            self._known()[name] = Entry(part, section)
            if known is None:
                Registry.version += 1
            return part

        return add

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._known()))

    def __contains__(self, name: object) -> bool:
        return name in self._known()

    def __getitem__(self, name: str) -> Callable[..., T]:
        """The part; its module is imported now.

        Raises:
            ConfigError: There is none of that name.
        """
        entry = self._entry(name)
        if entry.module:
            importlib.import_module(entry.module)
            entry = self._known()[name]
        return entry.part

    def signature(self, name: str) -> Callable[..., Any]:
        """The part, or its bare signature if its module is not imported yet."""
        return self._entry(name).part

    def check(self, name: object, where: str) -> None:
        """Refuse an unknown name; ``where`` says what gives it."""
        if name not in self._known():
            raise ConfigError(f"{where}: {unknown_name(self.kind, name, self._known())}")

    def options(self, name: str, section: str | None = None) -> tuple[Setting, ...]:
        """The options of a part, with their paths.

        Args:
            name: Of the part.
            section: In which they stand, if the part is named in another place than usual.
        """
        entry = self._entry(name)
        section = section or entry.section or self.section or name.replace("-", "_")
        return _options(entry.part, section, name)

    def build(
        self, name: str, options: Mapping[str, Any], section: str | None = None, **given: Any
    ) -> T:
        """Make a part.

        Args:
            name: Of the part.
            options: Setting path -> value; what it does not have is left to others, what is missing
                takes its default.
            section: As for :meth:`options`.
            given: What a run gives to parts; each takes what its parameters ask for by name.

        Raises:
            ConfigError: There is no such part, or it asks for something that the run does not give.
        """
        part = self[name]
        arguments = {
            one.parameter: options[one.path]
            for one in self.options(name, section)
            if one.path in options
        }
        for parameter, (asked, _) in parameters_of(part).items():
            if parameter in given:
                arguments[parameter] = given[parameter]
            elif asked.default is asked.empty:
                raise ConfigError(
                    f"the {self.kind} {name!r} asks for {parameter!r}, which is not given here; "
                    f"there are {', '.join(sorted(given))}, and parameters with a default are "
                    "options"
                )
        return part(**arguments)

    def _entry(self, name: str) -> Entry:
        self.check(name, self.kind)
        return self._known()[name]

    def _known(self) -> dict[str, Entry]:
        if self._entries is None:
            self._entries = {}
            variable = next(key for key, value in globals().items() if value is self)
            for found, name, entry in _registered(self.package):
                if found == variable:
                    self._entries[name] = entry
        return self._entries


@functools.cache
def _options(part: Callable[..., Any], section: str, owner: str) -> tuple[Setting, ...]:
    return options_of(part, section, owner)


@functools.cache
def _registered(package: str) -> tuple[tuple[str, str, Entry], ...]:
    """Variable of a registry, name, and entry of every part in the modules of a package."""
    found = []
    for file in sorted(ROOT.joinpath(*package.split(".")[1:]).glob("*.py")):
        text = read_text(file)
        if ".register(" not in text:
            continue
        module = f"{package}.{file.stem}"
        for node in _tree(module).body:
            for decorator in getattr(node, "decorator_list", []):
                match decorator:
                    case ast.Call(
                        func=ast.Attribute(value=ast.Name(id=variable), attr="register"),
                        args=[ast.Constant(value=str(name))],
                        keywords=keywords,
                    ):
                        own = {one.arg: ast.literal_eval(one.value) for one in keywords}
                        part = _signature(node, module)
                        found.append((variable, name, Entry(part, own.get("section"), module)))
    return tuple(found)


@functools.cache
def _tree(module: str) -> ast.Module:
    file = ROOT.joinpath(*module.split(".")[1:]).with_suffix(".py")
    return ast.parse(read_text(file))


def _signature(node: ast.stmt, module: str) -> Callable[..., Any]:
    """A class or function without its code: its parameters, docstrings and constants."""
    tree = _tree(module)
    namespace: dict[str, Any] = {"__name__": module}
    imports = [
        one
        for one in tree.body
        if isinstance(one, ast.ImportFrom)
        and (one.module or "").startswith(("__future__", *SIGNATURE_MODULES))
    ]
    bare: ast.stmt
    if isinstance(node, ast.ClassDef):
        kept: list[ast.stmt] = []
        for one in node.body:
            if isinstance(one, ast.FunctionDef) and one.name == "__init__":
                kept.append(_bare(one))
            elif isinstance(one, ast.Assign | ast.AnnAssign) and one.value is not None:
                if _literal(one.value) is one.value:
                    kept.append(one)
            elif isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant):
                kept.append(one)
        bases: list[ast.expr] = []
        if not any(isinstance(one, ast.FunctionDef) and not _has_rest(one) for one in kept):
            for base in node.bases:
                inherited = _inherited(base, tree)
                if inherited is not None and isinstance(base, ast.Name):
                    namespace[base.id] = inherited
                    bases.append(base)
        bare = ast.ClassDef(node.name, bases, [], kept or [ast.Pass()], [], **MORE)
    else:
        assert isinstance(node, ast.FunctionDef)
        bare = _bare(node)
    code = ast.fix_missing_locations(ast.Module([*imports, bare], []))
    exec(compile(code, module, "exec"), namespace)
    return cast(Callable[..., Any], namespace[cast(Any, node).name])


def _bare(function: ast.FunctionDef) -> ast.FunctionDef:
    document = [
        one
        for one in function.body[:1]
        if isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant)
    ]
    arguments = copy.copy(function.args)
    arguments.defaults = [_literal(one) for one in arguments.defaults]
    arguments.kw_defaults = [one and _literal(one) for one in arguments.kw_defaults]
    return ast.FunctionDef(function.name, arguments, [*document, ast.Pass()], [], **MORE)


def _literal(default: ast.expr) -> ast.expr:
    """A default that is a value; an object, which no option has, becomes None."""
    try:
        ast.literal_eval(default)
        return default
    except ValueError:
        return ast.Constant(None)


def _has_rest(function: ast.FunctionDef) -> bool:
    return function.args.kwarg is not None


def _inherited(base: ast.expr, tree: ast.Module) -> Callable[..., Any] | None:
    """The signature of a base class that is imported from another module of the package."""
    if not isinstance(base, ast.Name):
        return None
    for one in tree.body:
        if not isinstance(one, ast.ImportFrom) or not (one.module or "").startswith("mixseg."):
            continue
        if base.id in {alias.name for alias in one.names}:
            for node in _tree(str(one.module)).body:
                if isinstance(node, ast.ClassDef) and node.name == base.id:
                    return _signature(node, str(one.module))
    return None


METHODS: Registry[Method] = Registry("method", "mixseg.methods", None)
MIXERS: Registry[Mixer] = Registry("mixer", "mixseg.mixing", "mixing")
WEIGHTINGS: Registry[Weighting] = Registry("weighting", "mixseg.targets", "targets")
CONSISTENCIES: Registry[Consistency] = Registry("consistency loss", "mixseg.losses", "targets")
LOSSES: Registry[SupervisedLoss] = Registry("loss", "mixseg.losses", "supervised_loss")
AUGMENTATIONS: Registry[Augmentation] = Registry(
    "augmentation", "mixseg.augmentation", "augmentation"
)
STYLES: Registry[Style] = Registry("style", "mixseg.styles", "style")
TEACHERS: Registry[Teacher] = Registry("teacher", "mixseg.targets", "teacher")
TERMS: Registry[Term] = Registry("term", "mixseg.terms", None)
FIXED: Registry[Any] = Registry("part", "mixseg.targets", None)
"""Parts of which there is one of a kind."""
REGULARIZERS: Registry[Regularizer] = Registry("regularizer", "mixseg.regularizers", None)
ARCHITECTURES: Registry[Architecture] = Registry("architecture", "mixseg.models", "model")
OPTIMIZERS: Registry[Optimizer] = Registry("optimizer", "mixseg.training", "optimizer")
SCHEDULES: Registry[Schedule] = Registry("schedule", "mixseg.training", "schedule")
LAYOUTS: Registry[Layout] = Registry("data set", "mixseg.data", "data")
LOGGERS: Registry[Logger] = Registry("logger", "mixseg.training.loggers", None)


def _one(value: Any) -> tuple[str, ...]:
    return (value,)


def terms_of(text: str) -> list[tuple[str | None, str]]:
    """Factor, as it is written and None where there is none, and name of each term in a sum.

    Args:
        text: Such as ``cross-entropy + 0.5*dice``.
    """
    terms = []
    for term in re.split(r"(?<!\d[eE])(?<!\d\.[eE])\+", text):  # not at the plus of 1e+3
        factor, times, name = term.rpartition("*")
        terms.append((factor.strip() if times else None, name.strip()))
    return terms


def _names_in_sum(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for _, name in terms_of(text)))


class Slot(NamedTuple):
    """A place in which a run has parts of a kind.

    Attributes:
        registry: Of the parts.
        setting: That names the part; empty where there is one only.
        parameter: By which methods ask for it; empty if every run has it.
        section: Of the options, if it is not the registry's.
        fixed: Name of the part where there is one only.
        names: From the value of the setting to the names in it.
        also: Values of the setting that name no part.
    """

    registry: Registry[Any]
    setting: str = ""
    parameter: str = ""
    section: str | None = None
    fixed: str = ""
    names: Callable[[Any], tuple[str, ...]] = _one
    also: tuple[str, ...] = ()

    def all_names(self) -> tuple[str, ...]:
        """Names of all parts that can stand here."""
        return (self.fixed,) if self.fixed else tuple(self.registry)

    def options(self, name: str) -> tuple[Setting, ...]:
        """The options that a part has here."""
        return self.registry.options(name, self.section)

    def having(self, path: str, names: Iterable[str]) -> list[str]:
        """Those of the names whose part has the option of this path."""
        return [name for name in names if any(one.path == path for one in self.options(name))]

    def chosen(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        """Names of the parts that settings choose: setting path -> value."""
        if self.fixed:
            return (self.fixed,)
        value = values[self.setting]
        return () if value is None or value in self.also else self.names(value)

    def check(self, values: Mapping[str, Any], where: str) -> None:
        """Refuse unknown names; ``where`` says what gives them.

        Raises:
            ConfigError: There is no such part.
        """
        for name in self.chosen(values):
            if name not in self.registry:
                known = (*self.registry, *self.also)
                raise ConfigError(f"{where}: {unknown_name(self.registry.kind, name, known)}")


PYTHON = "python"
"""Layout of data, and architecture of a network, that were handed in as objects."""

BUILT_IN = ("demo", PYTHON)
"""Data sets without files."""

SLOTS = SimpleNamespace(
    method=Slot(METHODS, "method"),
    supervised_loss=Slot(LOSSES, "supervised_loss.name", names=_names_in_sum),
    labeled_mix=Slot(MIXERS, "mixing.labeled", "labeled_mix", also=("none",)),
    mixer=Slot(MIXERS, "mixing.mixer", "mixer"),
    weighting=Slot(WEIGHTINGS, "targets.weighting", "weighting"),
    consistency=Slot(CONSISTENCIES, "targets.consistency", "consistency"),
    augment=Slot(AUGMENTATIONS, "augmentation.name", "augment"),
    style=Slot(STYLES, "style.name", "style", also=("none",)),
    teacher=Slot(TEACHERS, "teacher.name", "teacher"),
    average=Slot(FIXED, "", "average", fixed="average"),
    alignment=Slot(FIXED, "", "teacher", fixed="alignment"),
    terms=Slot(TERMS, "terms", "terms", names=lambda value: tuple(value)),
    regularizer=Slot(REGULARIZERS, "regularizer", also=("none",)),
    architecture=Slot(ARCHITECTURES, "model.architecture"),
    optimizer=Slot(OPTIMIZERS, "optimizer.name"),
    schedule=Slot(SCHEDULES, "schedule.name"),
    dataset=Slot(LAYOUTS, "data.dataset", also=BUILT_IN),
    source=Slot(LAYOUTS, "source_domain.dataset", section="source_domain", also=BUILT_IN),
    loggers=Slot(LOGGERS, "training.loggers", names=lambda value: tuple(value)),
)
"""Where a run has parts; methods ask for those with a parameter by that name."""


def all_slots() -> tuple[Slot, ...]:
    """Every place of :data:`SLOTS`."""
    return tuple(vars(SLOTS).values())
