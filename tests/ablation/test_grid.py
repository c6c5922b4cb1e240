"""Grids: every shipped one, and files that are none."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection
from pathlib import Path

import pytest

from mixseg.ablation.checks import check_runs
from mixseg.ablation.dry_run import describe
from mixseg.ablation.grid import Grid, Row, choose_rows, load_grid, row_settings
from mixseg.ablation.results import collect, difference
from mixseg.ablation.runs import Job, plan
from mixseg.config.saved import with_absolute_paths
from mixseg.config.schema import to_flat
from mixseg.config.sections import Settings
from mixseg.config.yaml import load_yaml
from mixseg.errors import ConfigError

REFERENCES = Path(__file__).parents[2] / "docs" / "references.md"
FOLDER = Path(__file__).parents[2] / "configs" / "ablations"
GRIDS = sorted(path.name for path in FOLDER.glob("*.yaml"))

VALID = """
title: Two
base: base.yaml
default: one
rows:
  one:
  two: {set: {optimizer.lr: 0.5}, published: 51.2}
"""


@functools.cache
def planned(name: str, base: str | None = None) -> tuple[Grid, dict[str, object], tuple[Job, ...]]:
    """A shipped grid, what it needs on the command line, and its runs with two seeds."""
    grid = load_grid(FOLDER / name, None if base is None else FOLDER.parent / base)
    preset = load_yaml(grid.base).data
    given: dict[str, object] = {"training.device": "cpu"}
    if preset["data"]["dataset"] != "demo":
        given["data.root"] = "/data"
        if preset.get("source_domain", {"dataset": "demo"})["dataset"] != "demo":
            given["source_domain.root"] = "/source"
    if preset["method"] == "distillation":
        given["distillation.teacher"] = "/run"
    return grid, given, plan(grid, Path("/nowhere/out"), range(2), given)


def settings_of(name: str, base: str | None = None) -> dict[str, Settings]:
    """Row -> what its runs are started with."""
    return {job.row: job.settings for job in planned(name, base)[2]}


def base_of(name: str, base: str | None = None) -> Settings:
    """What a row without changes would be started with."""
    grid, given, _ = planned(name, base)
    return with_absolute_paths(row_settings(grid, Row("base", {}), given))


def differences(one: Settings, two: Settings, said: Collection[str] = ()) -> set[str]:
    """Settings that differ; options of parts that only ``two`` has count if they are said."""
    before, after = to_flat(one), to_flat(two)
    own = {key for key in said if key in after and key not in before}
    return own | {key for key in before.keys() & after if before[key] != after[key]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "ablations").mkdir()
    (tmp_path / "base.yaml").write_text("training: {iterations: 30}\n")
    return tmp_path / "ablations"


@pytest.mark.parametrize("name", GRIDS)
def test_every_grid(name: str, tmp_path: Path) -> None:
    grid, given, jobs = planned(name)
    base, rows = base_of(name), settings_of(name)
    text = "\n".join(describe(grid, jobs, given))
    check_runs(jobs)
    trained = [row for row in grid.rows if not row.cited]
    assert len(jobs) == len({job.folder for job in jobs}) == 2 * len(trained)
    assert [job.seed for job in jobs] == sorted(job.seed for job in jobs)
    assert not jobs[0].folder.parent.exists()
    assert len(set(map(repr, rows.values()))) == len(rows) == len(trained)  # no row twice
    for row in grid.rows:
        block = text.split(f"\n{row.name}")[1].split("\n\n")[0]
        assert ("not trained" in block) == row.cited
        if row.cited:
            assert not row.changes and row.published and "-m mixseg " not in block
            continue
        # It differs from the base in exactly what it says, and its description says so.
        changed = differences(base, rows[row.name], row.changes)
        said = row.changes.keys() & to_flat(rows[row.name])
        stretched = (
            {"training.iterations", "training.epochs"} & changed if row.longer != 1 else set()
        )
        assert changed == said | stretched, row.name
        assert ("as the base" in block) == (not row.changes and row.longer == 1)
        for setting in said - ({"training.epochs"} if "stages" in row.changes else set()):
            assert f"  {setting}: " in block
        assert block.count("-m mixseg ") == 2
        if row.against in rows and rows[row.against] != base:
            different = differences(rows[row.against], rows[row.name], row.changes)
            told = set(re.findall(r"^  against .*: ([\w.]+): ", block, re.MULTILINE))
            assert told and told <= different
            assert different - told <= {"training.epochs", "training.iterations"}

    # A short trial of every row is possible, or is refused.
    short = given | {"training.iterations": 6}
    # The others cannot tell it from any other setting that is common to all.
    lengths = {"training.iterations", "training.epochs", "stages"}
    risky = [row for row in trained if row.longer != 1 or lengths & set(row.changes)]
    for row in risky or trained[:1]:
        one = choose_rows(grid, [row.name])
        if "stages" in row.changes:
            with pytest.raises(ConfigError, match=f"'{row.name}'.* stages"):
                plan(one, tmp_path, [0], short)
            continue
        (job,) = (job for job in plan(one, tmp_path, [0], short) if job.row == row.name)
        assert job.settings.training.epochs is None
        assert job.settings.training.iterations == round(6 * row.longer)

    # It says which table it is.
    assert (FOLDER / name).read_text().startswith("# ")
    if any(row.published for row in grid.rows):
        (paper,) = re.findall(r"\(([^,]*), .*[tT]able", grid.title)
        assert f"| {paper} |" in REFERENCES.read_text(), grid.title


def test_other_bases() -> None:
    for name, base, count in (
        ("ssl_table_5_1.yaml", "demo/ssl.yaml", 14),
        ("ssl_table_4_1.yaml", "demo/ssl.yaml", 9),
        ("uda_table_5_2.yaml", "demo/uda.yaml", 4),
        ("uda_table_5_2.yaml", "uda/demo_camvid.yaml", 4),
        ("enet_losses.yaml", "supervised/enet_camvid.yaml", 5),
    ):
        start, rows = base_of(name, base), settings_of(name, base)
        assert len(set(map(repr, rows.values()))) == len(rows) == count
        for row in planned(name, base)[0].rows:
            if not row.cited:
                changed = differences(start, rows[row.name], row.changes)
                said = row.changes.keys() & to_flat(rows[row.name])
                assert changed - {"training.iterations", "training.epochs"} == said


def published(name: str) -> dict[str, dict[str, float]]:
    return {row.name: dict(row.published) for row in planned(name)[0].rows}


def test_tables_that_share_runs_share_their_published_values() -> None:
    for data in ("voc", "cityscapes"):
        summary = f"adversarial_table_4_9_{data}.yaml"
        for network, rate in (("FCN-8s", "5e-4"), ("ResNet-50", "1e-4")):
            table = f"adversarial_{network.lower().replace('-', '')}_{data}.yaml"
            for name, twin in (("baseline", f"lambda {rate}"), ("T_g 0.5", "T_g 0.5")):
                own = f"{network}, {name}"
                assert published(summary)[own] == published(table)[twin]
                assert not differences(settings_of(summary)[own], settings_of(table)[twin])
    four, five = published("ssl_table_4_1.yaml"), published("ssl_table_5_1.yaml")
    assert four["1/8, baseline"] == five["baseline"]
    assert four["1/8, SSL"] == five["default SSL"]
    gta5, mixing = published("uda_table_4_3.yaml"), published("uda_table_5_2.yaml")
    assert gta5["source only"] == mixing["source only"]
    assert gta5["DACS"] == mixing["InterMix"]
    crops, losses = published("enet_crop_size.yaml"), published("enet_losses.yaml")
    procedures = published("enet_procedures.yaml")
    assert crops["512x512"]["mIoU"] == losses["balanced cross-entropy"]["mIoU"]
    assert crops["512x512"]["mIoU"] == procedures["512x512"]["mIoU"]
    assert crops["768x768"]["mIoU"] == procedures["baseline"]["mIoU"]


# As the tables print them, read independently of the numbers that they follow from.
DELTAS: dict[str, dict[str | None, dict[str, float]]] = {
    "ssl_table_4_1.yaml": {
        "Hung et al.": {"1/8": 3.3, "1/4": 2.4, "1/2": 1.6},
        "Mittal et al.": {"1/8": 3.1, "1/4": 1.7, "full": -0.2},
        "French et al.": {"1/30": 6.79, "1/8": 5.09, "1/4": 3.3},
        "Feng et al.": {"1/30": 3.2, "1/8": 3.8, "1/4": 3.3},
        None: {"1/30": 10.23, "1/8": 6.51, "1/2": 3.27},
    },
    "ssl_table_4_2.yaml": {
        "Hung et al.": {"1/50": 4.0, "1/20": 6.0, "1/8": 3.5, "1/4": 3.8},
        "Mittal et al.": {"1/50": 10.1, "1/20": 8.5, "1/8": 5.4, "full": 2.0},
        "French et al.": {"1/100": 20.70, "1/50": 21.66, "1/8": 7.04},
        "Feng et al.": {"1/100": 15.9, "1/50": 10.1, "1/20": 7.1, "1/8": 4.5, "1/4": 3.1},
        None: {"1/100": 11.71, "1/50": 10.46, "1/20": 6.41, "1/8": 3.86, "1/4": 2.25},
    },
}


def test_the_documentation_has_a_command_for_every_table() -> None:
    text = (FOLDER.parents[1] / "docs" / "reproducing.md").read_text()
    named = {f"{name}.yaml" for name in re.findall(r"^\|.*mixseg ablate (\w+)", text, re.MULTILINE)}
    assert named == {
        name for name in GRIDS if any(row.published for row in load_grid(FOLDER / name).rows)
    }
    runs = {
        (f"{name}.yaml", int(rows), int(seeds))
        for name, rows, seeds in re.findall(r"mixseg ablate (\w+).*\| (\d+) x (\d+) \|", text)
    }
    assert runs == {
        (name, sum(not row.cited for row in grid.rows), grid.seeds)
        for name, grid in ((name, load_grid(FOLDER / name)) for name in named)
    }


def test_published_deltas_follow_from_the_numbers_of_the_file() -> None:
    for name, of_table in DELTAS.items():
        results = collect(load_grid(FOLDER / name), [], {})
        for who, deltas in of_table.items():
            for amount, delta in deltas.items():
                prefix = f"{who}, {amount}" if who else amount
                (row,) = (one for one in results if one.name == f"{prefix}, SSL")
                assert row.against == f"{prefix}, baseline"
                _, found = difference(results, row, "mIoU")
                assert found == pytest.approx(delta, abs=1e-9)


def test_a_row_may_be_longer(folder: Path) -> None:
    path = folder / "grid.yaml"
    path.write_text(VALID.replace("  one:", "  one: {longer: 2}"))
    grid = load_grid(path)
    for given, length in (({}, 60), ({"training.iterations": 7}, 14)):
        assert row_settings(grid, grid.rows[0], given).training.iterations == length
    assert row_settings(grid, grid.rows[0], {"training.epochs": 3}).training.epochs == 6


def test_what_is_no_grid(folder: Path) -> None:
    path = folder / "grid.yaml"
    value, title = "published: 51.2", "title: Two"
    rows = "  one:\n  two: {set: {optimizer.lr: 0.5}, published: 51.2}"
    for old, new, line, named in (
        (title, "titel: Two", 2, "'titel'"),
        ("default: one", "default: three", 4, "'three'"),
        ("default: one\n", "", 1, "default"),
        (value, "against: three", 7, "'three'"),
        (value, "against: two", 7, "'two'"),
        (value, "cited: 51.2", 7, "cited"),
        (value, "published: {IoU: 5}", 7, "'IoU'"),
        (value, "published: 0", 7, "published"),
        (value, "published: 151.2", 7, "published"),
        (value, "published: yes", 7, "published"),
        (value, "publshed: 51", 7, "'publshed'"),
        (value, "with_base: 3", 7, "with_base"),
        (value, "with_base: {no.yaml: {}}", 7, "with_base"),
        (value, "with_base: {base.yaml: {optimizer.rl: 1}}", 7, "'optimizer.rl'"),
        (value, "longer: no", 7, "longer"),
        (title, f"{title}\nmetrics: [mIou]", 3, "'mIou'"),
        (title, f"{title}\nmetrics: mIoU", 3, "metrics"),
        (title, f"{title}\nmetrics: [mIoU, mIoU]", 3, "metrics"),
        (title, f"{title}\nmetrics: [mIoU, mIoU-13]", 8, "{mIoU: 61.2}"),
        (rows, "  one: {cited: 3}\n  two: {cited: 4}", 5, "cited"),
        ("base: base.yaml", "base: other.yaml", 3, "other.yaml"),
        ("optimizer.lr: 0.5", "seed: 5", 7, "seed"),
        ("optimizer.lr", "optimizer.rl", 7, "optimizer.lr"),
        ("  two:", "  One:", 6, "'one'"),
        ("  two:", "  '...':", 7, "'...'"),
        (title, f"{title}\nseeds: 0", 3, "seeds"),
        (title, f"{title}\nnetwork: pupil", 3, "'pupil'"),
        ("rows:", "rows: 3\nold:", 6, "'old'"),
    ):
        assert old in VALID
        path.write_text(VALID.replace(old, new))
        with pytest.raises(ConfigError, match=rf"line {line}: .*{re.escape(named)}"):
            load_grid(path)


def test_what_a_row_says_for_another_base_replaces_what_it_sets(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "grid.yaml"
    path.write_text(
        VALID.replace("published: 51.2", "with_base: {other.yaml: {optimizer.momentum: 0.5}}")
    )
    for name in ("other.yaml", "third.yaml"):
        (folder.parent / name).write_text("training: {iterations: 40}\n")
    assert load_grid(path).rows[1].changes == {"optimizer.lr": 0.5}
    assert load_grid(path, folder.parent / "third.yaml").rows[1].changes == {"optimizer.lr": 0.5}
    other = load_grid(path, folder / ".." / "other.yaml")
    assert other.rows[1].changes == {"optimizer.momentum": 0.5}
    # Published values are of the grid's own data: a table of other data says that it is.
    assert other.title.startswith("Two, on ") and other.title.endswith("/other.yaml")
    assert load_grid(path).title == load_grid(path, folder.parent / "base.yaml").title == "Two"
    monkeypatch.chdir(folder.parent)
    near = load_grid(path, Path("other.yaml"))
    assert near.title == f"Two, on {folder.parent.name}/other.yaml"


def test_some_rows_come_with_what_they_are_compared_with(folder: Path) -> None:
    path = folder / "grid.yaml"
    path.write_text(
        VALID
        + "  three: {against: two, set: {optimizer.lr: 0.25}}\n"
        + "  four: {against: null, set: {optimizer.lr: 0.125}}\n"
        + "  other: {cited: 47, against: three}\n"
    )
    grid = load_grid(path)
    assert grid.several_comparisons and not load_grid(FOLDER / "mixers.yaml").several_comparisons
    assert [row.against for row in grid.rows] == [None, "one", "two", None, "three"]

    def chosen(*names: str) -> dict[str, str | None]:
        return {row.name: row.against for row in choose_rows(grid, names).rows}

    assert chosen("three") == {"two": None, "three": "two"}
    assert chosen("four", "two") == {"one": None, "two": "one", "four": None}
    assert chosen("other") == {"three": None, "other": "three"}
    with pytest.raises(ConfigError, match="unknown row 'five'"):
        chosen("five")


def test_rows_that_cannot_work_are_named_before_anything_runs(folder: Path) -> None:
    path = folder / "grid.yaml"
    for changed, common, named in (
        ("optimizer.lr: -0.5", {}, "optimizer.lr"),
        ("training.epochs: 5", {"training.iterations": 6}, "training.iterations"),
    ):
        path.write_text(VALID.replace("optimizer.lr: 0.5", changed))
        with pytest.raises(ConfigError, match=f"row 'two'.*{named}"):
            plan(load_grid(path), folder / "out", [0], common)
    assert len(plan(load_grid(path), folder / "out", [0], {"optimizer.momentum": 0.8})) == 2
    assert not (folder / "out").exists()
