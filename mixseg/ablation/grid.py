"""A grid: a base preset, and named rows that each change one aspect of it, or are cited."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

from mixseg.ablation.metrics import DEFAULT, METRICS
from mixseg.config.renamed import RENAMED
from mixseg.config.resolve import LENGTHS, resolve_settings
from mixseg.config.schema import schema
from mixseg.config.sections import Settings
from mixseg.config.values import NETWORKS
from mixseg.config.yaml import LoadedYaml, load_yaml
from mixseg.errors import ConfigError, unknown_name
from mixseg.plugins import import_recorded

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
    network: str
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
    return _Reader(load_yaml(path), base).grid()


class _Reader:
    """Checks a file, and makes a grid of it."""

    def __init__(self, loaded: LoadedYaml, base: Path | None) -> None:
        self.loaded, self.data = loaded, loaded.data
        self.presets = loaded.path.absolute().parent.parent
        for key in self.data:
            if key not in KEYS:
                raise self.wrong(unknown_name("key", str(key), KEYS), key)
        for key in ("title", "base", "rows"):
            if key not in self.data:
                raise self.wrong(f"{key} is missing")
        if not isinstance(self.data["rows"], dict) or len(self.data["rows"]) < 2:
            raise self.wrong("rows must be a mapping of at least two names", "rows")
        self.own = self.presets / str(self.data["base"])
        self.base = base or self.own
        if not self.base.is_file():
            raise self.wrong(
                f"base: there is no preset {self.base}. A path starts at the folder above that of "
                "the grid; --base FILE takes another one",
                "base",
            )
        import_recorded(load_yaml(self.base).data.get("imports"), str(self.base))
        self.names = [str(name) for name in self.data["rows"]]
        self.default = None if self.data.get("default") is None else str(self.data["default"])
        self.metrics = self._metrics()

    def wrong(self, message: str, *key: str) -> ConfigError:
        return ConfigError(f"{self.loaded.path}, line {self.loaded.line(key)}: {message}")

    def grid(self) -> Grid:
        data = self.data
        network, seeds = data.get("network", "student"), data.get("seeds", 3)
        if network not in NETWORKS:
            raise self.wrong(unknown_name("network", network, NETWORKS), "network")
        if type(seeds) is not int or seeds < 1:
            raise self.wrong(f"seeds must be a whole number above 0, found {seeds!r}", "seeds")
        contents = [content for content in data["rows"].values() if isinstance(content, dict)]
        if self.default is None and not any("against" in content for content in contents):
            raise self.wrong("default is missing: the row that others are compared with", "default")
        if self.default is not None and self.default not in self.names:
            raise self.wrong(unknown_name("row", self.default, self.names), "default")
        rows = tuple(self._row(str(name), content) for name, content in data["rows"].items())
        folders = [row.folder for row in rows]
        for row in rows:
            if not row.folder or len(row.name) > NAME_LENGTH or folders.count(row.folder) > 1:
                raise self.wrong(
                    f"{row.name!r} must have a letter or digit, at most {NAME_LENGTH} characters, "
                    "and differ from the other rows in letters and digits",
                    *("rows", row.name),
                )
        if all(row.cited for row in rows):
            raise self.wrong("rows: every one is cited; one at least must be trained", "rows")
        title = str(data["title"])
        grid = Grid(title, self.base, network, seeds, self.default, rows, self.metrics)
        if self.base.resolve() == self.own.resolve():
            return grid
        named = "/".join(self.base.absolute().parts[-2:])  # also of a bare name
        return replace(
            grid,
            title=f"{title}, on {named}",
            written_base=self.own,
            overrides=(f"base: {data['base']} -> {named}",),
        )

    def _metrics(self) -> tuple[str, ...]:
        metrics = self.data.get("metrics", [DEFAULT])
        if not isinstance(metrics, list) or not metrics or len({*map(str, metrics)}) < len(metrics):
            raise self.wrong(
                f"metrics must be a list of different names, found {metrics!r}", "metrics"
            )
        for name in metrics:
            if name not in METRICS:
                raise self.wrong(unknown_name("metric", name, METRICS), "metrics")
        return tuple(metrics)

    def _row(self, name: str, content: Any) -> Row:
        where = ("rows", name)
        content = {} if content is None else content
        if not isinstance(content, dict):
            raise self.wrong(f"{name!r} must be a mapping of {', '.join(ROW_KEYS)}", *where)
        cited = "cited" in content
        for key in content:
            if key not in ROW_KEYS:
                raise self.wrong(unknown_name("key", str(key), ROW_KEYS), *where, str(key))
            if cited and key in ("set", "with_base", "longer", "published"):
                message = f"{name!r} is cited, so it is not trained and takes no {key}"
                raise self.wrong(message, *where, key)
        changes = written = self._changes(content.get("set", {}), *where, "set")
        elsewhere = content.get("with_base", {})
        if not isinstance(elsewhere, dict):
            message = "with_base must be a mapping of presets to settings"
            raise self.wrong(message, *where, "with_base")
        for preset, settings in elsewhere.items():
            key = (*where, "with_base", str(preset))
            file = self.presets / str(preset)
            if not file.is_file():
                raise self.wrong(f"with_base: there is no preset {file}", *key)
            # Every one is checked, also for the bases that this call does not take.
            own = self._changes(settings, *key)
            if file.resolve() == self.base.resolve():
                changes = own
        longer = content.get("longer", 1.0)
        if not _is_number(longer) or longer <= 0:
            message = f"longer must be a number above 0, found {longer!r}"
            raise self.wrong(message, *where, "longer")
        against = content.get("against", None if name == self.default else self.default)
        others = [other for other in self.names if other != name]
        if against is not None and str(against) not in others:
            message = f"against: {unknown_name('other row', str(against), others)}"
            raise self.wrong(message, *where, "against")
        key = "cited" if cited else "published"
        published = self._published(content[key], name, key) if key in content else {}
        against = None if against is None else str(against)
        return Row(name, changes, float(longer), against, published, cited, written)

    def _changes(self, changes: Any, *key: str) -> dict[str, Any]:
        if not isinstance(changes, dict):
            raise self.wrong(f"{key[2]} must be a mapping of settings to values", *key)
        known = [*schema(), *RENAMED]
        for setting in changes:
            if setting in ("seed", "name", "output"):
                message = f"{setting}: an ablation gives each run its own"
                raise self.wrong(message, *key, setting)
            if setting not in known:
                raise self.wrong(unknown_name("setting", str(setting), known), *key, str(setting))
        return changes

    def _published(self, given: Any, name: str, key: str) -> dict[str, float]:
        """Metric -> percent; a number alone stands for the only metric of the grid."""
        where = ("rows", name, key)
        if not isinstance(given, dict):
            if len(self.metrics) > 1:
                raise self.wrong(
                    f"{key} must say what it is a value of, such as {{{self.metrics[0]}: 61.2}}; "
                    f"the grid has {', '.join(self.metrics)}",
                    *where,
                )
            given = {self.metrics[0]: given}
        for metric, value in given.items():
            if metric not in self.metrics:
                unknown = unknown_name("metric of this grid", str(metric), self.metrics)
                raise self.wrong(f"{key}: {unknown}", *where, str(metric))
            if not _is_number(value) or not 0 < value <= 100:
                message = f"{key} must be a number of percent above 0, found {value!r}"
                raise self.wrong(message, *where)
        return {metric: float(value) for metric, value in given.items()}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


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
    """The settings of a row: the base, those common to all rows, then the changes of the row.

    Args:
        grid: The grid with the base.
        row: One of its rows.
        common: Setting path -> value for every row, such as where the data are.

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
    values = {**common, **row.changes}
    settings = resolve_settings([grid.base], values)
    if row.longer == 1:
        return settings
    if settings.stages:
        raise ConfigError("longer cannot stretch stages; give them more epochs")
    training = settings.training
    key = "iterations" if training.epochs is None else "epochs"
    length = round(getattr(training, key) * row.longer)
    return resolve_settings([grid.base], values | {f"training.{key}": length})
