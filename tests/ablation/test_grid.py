"""Grids: every shipped one, and files that are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixseg.ablation import Grid, load_grid, plan, row_settings
from mixseg.config import to_flat
from mixseg.errors import ConfigError
from mixseg.training import check_names

FOLDER = Path(__file__).parents[2] / "configs" / "ablations"
GRIDS = sorted(path.name for path in FOLDER.glob("*.yaml"))
DATA = {"data.root": "/data", "source_domain.root": "/source", "training.device": "cpu"}

VALID = """
title: Two
base: base.yaml
default: one
rows:
  one:
  two: {set: {optimizer.lr: 0.5}, published: 51.2}
"""


def common(grid: Grid) -> dict[str, object]:
    given: dict[str, object] = {"training.device": "cpu"}
    if grid.base.parent.name == "distill":
        given["distillation.teacher"] = "/run"
    settings = row_settings(grid, grid.rows[0], {"data.root": "/data"} | given)
    if settings.data.dataset != "demo":
        given["data.root"] = "/data"
    return dict(given)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "ablations").mkdir()
    (tmp_path / "base.yaml").write_text("training: {iterations: 30}\n")
    return tmp_path / "ablations"


def test_there_are_grids() -> None:
    assert "mixers.yaml" in GRIDS


@pytest.mark.parametrize("name", GRIDS)
class TestEveryGrid:
    def test_rows_differ_in_exactly_what_they_say(self, name: str) -> None:
        grid = load_grid(FOLDER / name)
        given = common(grid)
        base = to_flat(row_settings(grid, type(grid.rows[0])("base", {}), given))
        seen = []
        for row in grid.rows:
            settings = row_settings(grid, row, given)
            check_names(settings)
            own = to_flat(settings)
            changed = {key for key in own if own[key] != base[key]}
            said = set(row.changes)
            if row.longer != 1:
                said |= {"training.iterations", "training.epochs"} & changed
            assert changed == said, row.name
            seen.append(settings)
        assert len(set(map(repr, seen))) == len(seen)  # no row twice

    def test_it_can_be_planned(self, name: str, tmp_path: Path) -> None:
        grid = load_grid(FOLDER / name)
        jobs = plan(grid, tmp_path / "out", range(2), common(grid))
        assert len(jobs) == len({job.folder for job in jobs}) == 2 * len(grid.rows)
        assert [job.seed for job in jobs] == sorted(job.seed for job in jobs)
        assert not (tmp_path / "out").exists()


def test_a_row_may_be_longer(folder: Path) -> None:
    path = folder / "grid.yaml"
    path.write_text(VALID.replace("  one:", "  one: {longer: 2}"))
    grid = load_grid(path)
    assert row_settings(grid, grid.rows[0], {}).training.iterations == 60
    assert row_settings(grid, grid.rows[0], {"training.iterations": 7}).training.iterations == 14
    assert row_settings(grid, grid.rows[0], {"training.epochs": 3}).training.epochs == 6


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("title: Two", "titel: Two", r"line 2: unknown key 'titel'.*title"),
        ("default: one", "default: three", r"line 4: unknown row 'three'"),
        ("default: one\n", "", "default is missing"),
        ("base: base.yaml", "base: other.yaml", r"line 3: base: there is no preset .*other.yaml"),
        ("optimizer.lr", "optimizer.rl", r"line 7: unknown setting 'optimizer.rl'.*optimizer.lr"),
        ("published: 51.2", "published: yes", r"published must be a number"),
        ("published: 51.2", "publshed: 51", r"unknown key 'publshed'"),
        ("  two:", "  One:", r"'one' must .* differ from the other rows"),
        ("  two:", "  '...':", r"'\.\.\.' must have a letter"),
        ("title: Two", "title: Two\nseeds: 0", "seeds must be a whole number above 0"),
        ("title: Two", "title: Two\nnetwork: pupil", "network must be student or teacher"),
        ("rows:", "rows: 3\nold:", "unknown key 'old'"),
    ],
)
def test_what_is_no_grid(folder: Path, old: str, new: str, message: str) -> None:
    path = folder / "grid.yaml"
    assert old in VALID
    path.write_text(VALID.replace(old, new))
    with pytest.raises(ConfigError, match=message):
        load_grid(path)


def test_a_row_that_cannot_work_is_named_before_anything_runs(folder: Path) -> None:
    path = folder / "grid.yaml"
    path.write_text(VALID.replace("0.5", "-0.5"))
    with pytest.raises(ConfigError, match=r"row 'two'.*optimizer\.lr must be above 0"):
        plan(load_grid(path), folder / "out", range(1), {})
    assert not (folder / "out").exists()


def test_a_common_length_is_not_overruled_by_a_row_in_silence(folder: Path, tmp_path: Path) -> None:
    (folder / "two.yaml").write_text(VALID.replace("optimizer.lr: 0.5", "training.epochs: 5"))
    grid = load_grid(folder / "two.yaml")
    message = r"row 'two': training\.iterations would be overruled by training\.epochs"
    with pytest.raises(ConfigError, match=message):
        plan(grid, tmp_path / "out", [0], {"training.iterations": 6})
    assert len(plan(grid, tmp_path / "out", [0], {"optimizer.momentum": 0.8})) == 2
