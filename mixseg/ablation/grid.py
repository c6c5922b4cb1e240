"""A grid: a base preset, and named rows that each change one aspect of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

from mixseg.config import LENGTHS, Settings, resolve_settings, settings_leaves
from mixseg.errors import ConfigError, unknown_name
from mixseg.strict_yaml import LoadedYaml, load_yaml

KEYS = ("title", "base", "network", "seeds", "default", "rows")
ROW_KEYS = ("set", "longer", "published")
NAME_LENGTH = 60


@final
@dataclass(frozen=True)
class Row:
    """One setting of an ablation.

    Attributes:
        name: As the table shows it.
        changes: Setting path -> value; what differs from the base.
        longer: Factor of the base's number of steps.
        published: mIoU in percent that a paper gives for it.
    """

    name: str
    changes: Mapping[str, Any]
    longer: float = 1.0
    published: float | None = None

    @property
    def folder(self) -> str:
        """The name in letters that every file system takes."""
        return re.sub(r"[^a-z0-9.]+", "-", self.name.lower()).strip("-.")


@final
@dataclass(frozen=True)
class Grid:
    """A file under ``configs/ablations``.

    Attributes:
        title: Heading of the table.
        base: Preset that all rows start from.
        network: Whose mIoU at the last step the table shows.
        seeds: Number of seeds, 0 to ``seeds`` - 1.
        default: Name of the row that the others are compared with.
        rows: In the order of the table.
    """

    title: str
    base: Path
    network: Literal["student", "teacher"]
    seeds: int
    default: str
    rows: tuple[Row, ...]


def load_grid(path: Path, base: Path | None = None) -> Grid:
    """Read a grid.

    Args:
        path: The file. Its ``base`` is relative to the folder above the file's own.
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
    for key in ("title", "base", "default", "rows"):
        if key not in data:
            raise wrong(f"{key} is missing")
    if not isinstance(data["rows"], dict) or len(data["rows"]) < 2:
        raise wrong("rows must be a mapping of at least two names", "rows")
    rows = tuple(_row(loaded, str(name), content) for name, content in data["rows"].items())
    folders = [row.folder for row in rows]
    for row in rows:
        if not row.folder or len(row.name) > NAME_LENGTH or folders.count(row.folder) > 1:
            raise wrong(
                f"{row.name!r} must have a letter or digit, at most {NAME_LENGTH} characters, and "
                "differ from the other rows in letters and digits",
                "rows",
                row.name,
            )
    default, network, seeds = (
        str(data["default"]),
        data.get("network", "student"),
        data.get("seeds", 3),
    )
    if default not in [row.name for row in rows]:
        raise wrong(unknown_name("row", default, [row.name for row in rows]), "default")
    if network not in ("student", "teacher"):
        raise wrong(f"network must be student or teacher, found {network!r}", "network")
    if type(seeds) is not int or seeds < 1:
        raise wrong(f"seeds must be a whole number above 0, found {seeds!r}", "seeds")
    base = base or path.absolute().parent.parent / str(data["base"])
    if not base.is_file():
        raise wrong(f"base: there is no preset {base}", "base")
    return Grid(str(data["title"]), base, network, seeds, default, rows)


def _row(loaded: LoadedYaml, name: str, content: Any) -> Row:
    where = f"{loaded.path}, line {loaded.line(('rows', name))}"
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise ConfigError(f"{where}: {name!r} must be a mapping with some of {', '.join(ROW_KEYS)}")
    for key in content:
        if key not in ROW_KEYS:
            raise ConfigError(f"{where}: {unknown_name('key', str(key), ROW_KEYS)}")
    changes = content.get("set", {})
    if not isinstance(changes, dict):
        raise ConfigError(f"{where}: set must be a mapping of settings to values")
    known = [leaf.path for leaf in settings_leaves()]
    for setting in changes:
        if setting not in known:
            raise ConfigError(f"{where}: {unknown_name('setting', str(setting), known)}")
    for key in ("longer", "published"):
        value = content.get(key, 1.0)
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise ConfigError(f"{where}: {key} must be a number above 0, found {value!r}")
    return Row(name, changes, float(content.get("longer", 1.0)), content.get("published"))


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
    own = [key for key in (*LENGTHS, "stages") if key in row.changes]
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
