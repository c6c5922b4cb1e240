"""A grid: a base preset, and named rows that each change one aspect of it, or are cited."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, final

from mixseg.ablation.metrics import DEFAULT, METRICS
from mixseg.config.renamed import RENAMED
from mixseg.config.resolve import LENGTHS, resolve_settings
from mixseg.config.schema import schema
from mixseg.config.sections import Settings
from mixseg.errors import ConfigError, unknown_name
from mixseg.strict_yaml import LoadedYaml, load_yaml

KEYS = ("title", "base", "network", "metrics", "seeds", "default", "rows")
ROW_KEYS = ("set", "with_base", "longer", "against", "published", "cited")
NAME_LENGTH = 60


@final
@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        name: As the table shows it.
        changes: Setting path -> value; what differs from the base.
        longer: Factor of the base's number of steps.
        against: Name of the row that it is compared with; None for one that others are compared
            with.
        published: Metric -> value in percent that a paper gives for it.
        cited: Whether it is somebody else's method, which is shown as published and not trained.
        written: What it changes of the file's own base, where that is not the grid's.
    """

    name: str
    changes: Mapping[str, Any]
    longer: float = 1.0
    against: str | None = None
    published: Mapping[str, float] = field(default_factory=dict)
    cited: bool = False
    written: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """The name in letters that every file system takes."""
        return re.sub(r"[^a-z0-9.]+", "-", self.name.lower()).strip("-.")


@final
@dataclass(frozen=True)
class Grid:
    """A file under ``configs/ablations``.

    Attributes:
        title: Heading of the table; it says so if the base is not the file's own.
        base: Preset that all rows start from.
        network: Whose scores at the last step the table shows.
        seeds: Number of seeds, 0 to ``seeds`` - 1.
        default: Name of the row that the others are compared with unless they say otherwise; None
            if each row says it.
        rows: In the order of the table.
        metrics: What is shown of a run, of :data:`mixseg.ablation.metrics.METRICS`.
        written_base: The file's own base, where ``base`` is another one.
        overrides: Lines ``WHAT: OLD -> NEW`` of what is computed in another way than the file says.
        left_out: Which published values are left out, and why; empty if none are.
    """

    title: str
    base: Path
    network: Literal["student", "teacher", "average"]
    seeds: int
    default: str | None
    rows: tuple[Row, ...]
    metrics: tuple[str, ...] = (DEFAULT,)
    written_base: Path | None = None
    overrides: tuple[str, ...] = ()
    left_out: str = ""

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that belong under the title wherever it is shown."""
        changed = f"Other than in the grid: {'; '.join(self.overrides)}." if self.overrides else ""
        return tuple(note for note in (changed, self.left_out) if note)

    @property
    def several_comparisons(self) -> bool:
        """Whether rows are compared with different ones."""
        return any(
            row.against != (None if row.name == self.default else self.default) for row in self.rows
        )


def load_grid(path: Path, base: Path | None = None) -> Grid:
    """Read a grid.

    Args:
        path: The file. Its ``base``, and the presets of ``with_base``, are relative to the folder
            above the file's own.
        base: Preset in place of the file's.

    Raises:
        ConfigError: The file is no grid; the message has the line.
    """
    loaded = load_yaml(path)
    data = loaded.data

    def wrong(message: str, *key: str) -> ConfigError:
        return ConfigError(f"{path}, line {loaded.line(key)}: {message}")

    for key in data:
        if key not in KEYS:
            raise wrong(unknown_name("key", str(key), KEYS), key)
    for key in ("title", "base", "rows"):
        if key not in data:
            raise wrong(f"{key} is missing")
    if not isinstance(data["rows"], dict) or len(data["rows"]) < 2:
        raise wrong("rows must be a mapping of at least two names", "rows")
    network, seeds = data.get("network", "student"), data.get("seeds", 3)
    if network not in ("student", "teacher", "average"):
        raise wrong(f"network must be student, teacher or average, found {network!r}", "network")
    if type(seeds) is not int or seeds < 1:
        raise wrong(f"seeds must be a whole number above 0, found {seeds!r}", "seeds")
    presets = path.absolute().parent.parent
    own = presets / str(data["base"])
    base = base or own
    if not base.is_file():
        raise wrong(
            f"base: there is no preset {base}. A path starts at the folder above that of the grid; "
            "--base FILE takes another one",
            "base",
        )
    names = [str(name) for name in data["rows"]]
    default = None if data.get("default") is None else str(data["default"])
    contents = [content for content in data["rows"].values() if isinstance(content, dict)]
    if default is None and not any("against" in content for content in contents):
        raise wrong("default is missing: the row that the others are compared with", "default")
    if default is not None and default not in names:
        raise wrong(unknown_name("row", default, names), "default")
    context = _Context(loaded, presets, base, _metrics(loaded), tuple(names), default)
    rows = tuple(_row(context, str(name), content) for name, content in data["rows"].items())
    folders = [row.folder for row in rows]
    for row in rows:
        if not row.folder or len(row.name) > NAME_LENGTH or folders.count(row.folder) > 1:
            raise wrong(
                f"{row.name!r} must have a letter or digit, at most {NAME_LENGTH} characters, and "
                "differ from the other rows in letters and digits",
                "rows",
                row.name,
            )
    if all(row.cited for row in rows):
        raise wrong("rows: every one is cited; one at least must be trained", "rows")
    grid = Grid(str(data["title"]), base, network, seeds, default, rows, context.metrics)
    if base.resolve() == own.resolve():
        return grid
    named = "/".join(base.absolute().parts[-2:])  # also of one in the folder that is worked in
    return replace(
        grid,
        title=f"{grid.title}, on {named}",
        written_base=own,
        overrides=(f"base: {data['base']} -> {named}",),
    )


@final
@dataclass(frozen=True)
class _Context:
    """What a row needs to know of its file."""

    loaded: LoadedYaml
    presets: Path
    base: Path
    metrics: tuple[str, ...]
    names: tuple[str, ...]
    default: str | None

    def wrong(self, message: str, *key: str) -> ConfigError:
        line = self.loaded.line(("rows", *key))
        return ConfigError(f"{self.loaded.path}, line {line}: {message}")


def _metrics(loaded: LoadedYaml) -> tuple[str, ...]:
    where = f"{loaded.path}, line {loaded.line(('metrics',))}"
    metrics = loaded.data.get("metrics", [DEFAULT])
    if not isinstance(metrics, list) or not metrics or len(set(map(str, metrics))) < len(metrics):
        raise ConfigError(f"{where}: metrics must be a list of different names, found {metrics!r}")
    for name in metrics:
        if name not in METRICS:
            raise ConfigError(f"{where}: {unknown_name('metric', name, METRICS)}")
    return tuple(metrics)


def _row(context: _Context, name: str, content: Any) -> Row:
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise context.wrong(f"{name!r} must be a mapping with some of {', '.join(ROW_KEYS)}", name)
    for key in content:
        if key not in ROW_KEYS:
            raise context.wrong(unknown_name("key", str(key), ROW_KEYS), name, str(key))
    if "cited" in content:
        for key in ("set", "with_base", "longer", "published"):
            if key in content:
                raise context.wrong(
                    f"{name!r} is cited, so it is not trained and takes no {key}", name, key
                )
    changes = written = _changes(context, content.get("set", {}), name, "set")
    elsewhere = content.get("with_base", {})
    if not isinstance(elsewhere, dict):
        raise context.wrong("with_base must be a mapping of presets to settings", name, "with_base")
    for preset, own in elsewhere.items():
        file = context.presets / str(preset)
        if not file.is_file():
            raise context.wrong(
                f"with_base: there is no preset {file}", name, "with_base", str(preset)
            )
        # Every one is checked, also for the bases that this call does not take.
        own = _changes(context, own, name, "with_base", str(preset))
        if file.resolve() == context.base.resolve():
            changes = own
    longer = content.get("longer", 1.0)
    if not _is_number(longer) or longer <= 0:
        raise context.wrong(f"longer must be a number above 0, found {longer!r}", name, "longer")
    cited = "cited" in content
    key = "cited" if cited else "published"
    published = _published(context, content[key], name, key) if key in content else {}
    against = _against(context, content, name)
    return Row(name, changes, float(longer), against, published, cited, written)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _changes(context: _Context, changes: Any, name: str, *key: str) -> dict[str, Any]:
    if not isinstance(changes, dict):
        raise context.wrong(f"{key[0]} must be a mapping of settings to values", name, *key)
    known = [*schema(), *RENAMED]
    for setting in changes:
        if setting in ("seed", "name", "output"):
            raise context.wrong(
                f"{setting}: an ablation gives each run its own", name, *key, setting
            )
        if setting not in known:
            raise context.wrong(
                unknown_name("setting", str(setting), known), name, *key, str(setting)
            )
    return changes


def _against(context: _Context, content: Mapping[str, Any], name: str) -> str | None:
    if "against" not in content:
        return None if name == context.default else context.default
    against = content["against"]
    if against is None:
        return None
    others = [other for other in context.names if other != name]
    if str(against) not in others:
        raise context.wrong(
            f"against: {unknown_name('other row', str(against), others)}", name, "against"
        )
    return str(against)


def _published(context: _Context, given: Any, name: str, key: str) -> dict[str, float]:
    """Metric -> percent; a number alone stands for the only metric of the grid."""
    if not isinstance(given, dict):
        if len(context.metrics) > 1:
            raise context.wrong(
                f"{key} must say what it is a value of, such as {{{context.metrics[0]}: 61.2}}; "
                f"the grid has {', '.join(context.metrics)}",
                *(name, key),
            )
        given = {context.metrics[0]: given}
    for metric, value in given.items():
        if metric not in context.metrics:
            raise context.wrong(
                f"{key}: {unknown_name('metric of this grid', str(metric), context.metrics)}",
                *(name, key, str(metric)),
            )
        if not _is_number(value) or not 0 < value <= 100:
            raise context.wrong(
                f"{key} must be a number of percent above 0, found {value!r}", name, key
            )
    return {metric: float(value) for metric, value in given.items()}


def choose_rows(grid: Grid, names: Sequence[str]) -> Grid:
    """Some rows of a grid, and those that they are compared with.

    Raises:
        ConfigError: There is no row of a name, or all of them are cited.
    """
    rows = {row.name: row for row in grid.rows}
    for name in names:
        if name not in rows:
            raise ConfigError(f"--rows: {unknown_name('row', name, rows)}")
    kept = {*names, *(rows[name].against for name in names)}
    chosen = tuple(
        replace(row, against=row.against if row.against in kept else None)
        for row in grid.rows
        if row.name in kept
    )
    if all(row.cited for row in chosen):
        raise ConfigError("--rows: every row of these is cited, so that nothing would be trained")
    default = grid.default if grid.default in kept else None
    overrides = grid.overrides
    if len(chosen) < len(grid.rows):
        overrides = (*overrides, f"rows: {len(grid.rows)} -> {len(chosen)}")
    return replace(grid, rows=chosen, default=default, overrides=overrides)


def row_settings(grid: Grid, row: Row, common: Mapping[str, Any] | None = None) -> Settings:
    """The settings of a row: the base, what is common to all rows, then what the row changes.

    Args:
        grid: Whose base is taken.
        row: One of its rows.
        common: Setting path -> value for every row, such as where the data lies.

    Raises:
        ConfigError: A value has the wrong type or range, or settings contradict each other.
    """
    common = common or {}
    given = [key for key in LENGTHS if common.get(key) is not None]
    own = [key for key in (*LENGTHS, "stages") if row.changes.get(key)]
    if given and own:
        raise ConfigError(
            f"{given[0]} would be overruled by {own[0]} of this row; leave it out, or choose other "
            "--rows"
        )
    settings = resolve_settings([grid.base], dict(common) | dict(row.changes))
    if row.longer == 1:
        return settings
    if settings.stages:
        raise ConfigError("longer cannot stretch stages; give them more epochs")
    if settings.training.epochs is None:
        longer = {"training.iterations": round(settings.training.iterations * row.longer)}
    else:
        longer = {"training.epochs": round(settings.training.epochs * row.longer)}
    return resolve_settings([grid.base], dict(common) | dict(row.changes) | longer)
