"""What an ablation computes in another way than its grid says, and what it may stand beside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mixseg.ablation.grid import Grid, Row
from mixseg.ablation.runs import OWN
from mixseg.config.resolve import resolve_values
from mixseg.config.saved import changed_settings


def with_overrides(grid: Grid, common: Mapping[str, Any], seeds: int) -> Grid:
    """The grid as it is computed: with its overrides, and without published values of other runs.

    A published value stands beside runs of the network and the data set that it is of: those of
    its row as the file says it. Other lengths, batches and rates are named, and may be compared.

    Args:
        grid: From :func:`mixseg.ablation.grid.load_grid`.
        common: Setting path -> value for every row.
        seeds: Number of seeds of each row.

    Returns:
        The grid; cited rows of which no value is left are not in it.
    """
    new = resolve_values([grid.base], common)
    written_base = grid.written_base or grid.base
    if not written_base.is_file():
        overrides = [*grid.overrides, *_changed(resolve_values([grid.base], {}), new)]
        reason = f"Published values are left out: their preset {written_base.name} is missing."
        return _without_values(grid, {row.name for row in grid.rows}, overrides, reason)
    old = resolve_values([written_base], {})
    overrides = [*grid.overrides, *_changed(old, new)]
    if seeds != grid.seeds:
        overrides.append(f"seeds: {grid.seeds} -> {seeds}")
    others: dict[tuple[str, str], list[str]] = {}
    for row in grid.rows:
        written = {**old, **(row.changes if grid.written_base is None else row.written)}
        whose = _described(written, written), _described({**new, **row.changes}, written)
        if row.published and whose[0] != whose[1]:
            others.setdefault(whose, []).append(row.name)
    reasons = [
        f"of {published}, and the runs are of {own}"
        + (f" ({', '.join(names)})" if len(others) > 1 else "")
        for (published, own), names in others.items()
    ]
    left = {name for names in others.values() for name in names}
    some = "" if len(left) == sum(bool(row.published) for row in grid.rows) else " of some rows"
    reason = f"Published values{some} are left out: they are {'; '.join(reasons)}." if left else ""
    return _without_values(grid, left, overrides, reason)


def _changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    # Where a data set lies is for each user to say, unless the file says it or draws scenes.
    roots = [
        key
        for key in ("data.root", "source_domain.root")
        if old[key] is None and old["data.dataset"] != "demo"
    ]
    return changed_settings(old, new, (*OWN, *roots))


def _described(values: Mapping[str, Any], written: Mapping[str, Any]) -> str:
    """Network and data set in words that are equal where both are."""
    backbone = str(values["model.backbone"]).partition(".")[0]
    source = _data(values, written, "source_domain")
    data = _data(values, written, "data")
    return (
        str(values["model.architecture"])
        + ("" if backbone == "none" else f" with {backbone}")
        + f" on {data if source is None else f'{source} to {data}'}"
    )


def _data(values: Mapping[str, Any], written: Mapping[str, Any], domain: str) -> str | None:
    name, root = values[f"{domain}.dataset"], values[f"{domain}.root"]
    # Without a root scenes are drawn, but a file on a real data set leaves it to the user.
    meant = values is written and written["data.dataset"] != "demo"
    if name == "demo" or (name is not None and root is None and not meant):
        return "built-in scenes"
    if name == "folder" and written[f"{domain}.root"] is not None:
        return f"folder {Path(root).expanduser().absolute()}"
    return None if name is None else str(name)


def _without_values(grid: Grid, names: set[str], overrides: list[str], reason: str) -> Grid:
    """The grid without the published values of some rows."""
    rows = [replace(row, published={}) if row.name in names else row for row in grid.rows]
    shown = {row.name for row in rows if not row.cited or row.published}

    def compared(row: Row) -> Row:
        return row if row.against in shown else replace(row, against=None)

    return replace(
        grid,
        rows=tuple(compared(row) for row in rows if row.name in shown),
        overrides=tuple(overrides),
        left_out=reason,
    )
