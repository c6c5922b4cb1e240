"""Grids: every shipped one, and files that are none."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection
from pathlib import Path

import pytest

from mixseg.ablation.dry_run import describe
from mixseg.ablation.grid import Grid, Row, choose_rows, load_grid, row_settings
from mixseg.ablation.results import collect, difference
from mixseg.ablation.runs import Job, plan
from mixseg.config.saved import with_absolute_paths
from mixseg.config.schema import to_flat
from mixseg.config.sections import Settings
from mixseg.config.yaml import load_yaml
from mixseg.errors import ConfigError
from mixseg.training.checks import check_settings

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


def test_there_are_grids() -> None:
    assert "mixers.yaml" in GRIDS


@pytest.mark.parametrize("name", GRIDS)
class TestEveryGrid:
    def test_rows_differ_in_exactly_what_they_say(self, name: str) -> None:
        grid = planned(name)[0]
        base, rows = base_of(name), settings_of(name)
        for row in grid.rows:
            if row.cited:
                assert not row.changes and row.published and row.name not in rows
                continue
            check_settings(rows[row.name])
            changed = differences(base, rows[row.name], row.changes)
            said = row.changes.keys() & to_flat(rows[row.name])
            if row.longer != 1:
                said |= {"training.iterations", "training.epochs"} & changed
            assert changed == said, row.name
        assert len(set(map(repr, rows.values()))) == len(rows)  # no row twice

    def test_it_can_be_planned(self, name: str) -> None:
        grid, _, jobs = planned(name)
        trained = [row for row in grid.rows if not row.cited]
        assert len(jobs) == len({job.folder for job in jobs}) == 2 * len(trained)
        assert [job.seed for job in jobs] == sorted(job.seed for job in jobs)
        assert not jobs[0].folder.parent.exists()

    def test_a_short_trial_of_every_row_is_possible(self, name: str, tmp_path: Path) -> None:
        grid, given, _ = planned(name)
        short = given | {"training.iterations": 6}
        # The others cannot tell it from any other setting that is common to all.
        lengths = {"training.iterations", "training.epochs", "stages"}
        risky = [row for row in grid.rows if row.longer != 1 or lengths & set(row.changes)]
        for row in risky or [row for row in grid.rows if not row.cited][:1]:
            one = choose_rows(grid, [row.name])
            if "stages" in row.changes:
                with pytest.raises(ConfigError, match=f"'{row.name}'.* overruled by stages"):
                    plan(one, tmp_path, [0], short)
                continue
            (job,) = (job for job in plan(one, tmp_path, [0], short) if job.row == row.name)
            assert job.settings.training.epochs is None
            assert job.settings.training.iterations == round(6 * row.longer)

    def test_it_says_which_table_it_is(self, name: str) -> None:
        text = (FOLDER / name).read_text()
        assert text.startswith("# ")
        grid = planned(name)[0]
        if any(row.published for row in grid.rows):
            (paper,) = re.findall(r"\(([^,]*), .*[tT]able", grid.title)
            assert f"| {paper} |" in REFERENCES.read_text(), grid.title

    def test_it_can_be_described(self, name: str) -> None:
        grid, given, jobs = planned(name)
        text = "\n".join(describe(grid, jobs, given))
        for row in grid.rows:
            block = text.split(f"\n{row.name}")[1].split("\n\n")[0]
            assert ("not trained" in block) == row.cited
            same = not row.changes and row.longer == 1 and not row.cited
            assert ("as the base" in block) == same
            left_out = {"training.epochs"} if "stages" in row.changes else set()
            said = set() if row.cited else row.changes.keys() & to_flat(settings_of(name)[row.name])
            for setting in said - left_out:
                assert f"  {setting}: " in block
            assert block.count("-m mixseg ") == (0 if row.cited else 2)


@pytest.mark.parametrize("name", GRIDS)
def test_a_description_says_how_a_row_differs_from_what_it_is_compared_with(name: str) -> None:
    grid, given, jobs = planned(name)
    rows, base = settings_of(name), base_of(name)
    text = "\n".join(describe(grid, jobs, given))
    for row in grid.rows:
        if row.against not in rows or row.cited or rows[row.against] == base:
            continue
        block = text.split(f"\n\n{row.name}, against")[1].split("\n\n")[0]
        different = differences(rows[row.against], rows[row.name], row.changes)
        told = set(re.findall(r"^  against .*: ([\w.]+): ", block, re.MULTILINE))
        assert told and told <= different
        assert different - told <= {"training.epochs", "training.iterations"}


@pytest.mark.parametrize(
    ("name", "base", "count"),
    [
        ("ssl_table_5_1.yaml", "demo/ssl.yaml", 14),
        ("ssl_table_5_1.yaml", "ssl/camvid.yaml", 14),
        ("ssl_table_4_1.yaml", "demo/ssl.yaml", 9),
        ("uda_table_5_2.yaml", "demo/uda.yaml", 4),
        ("uda_table_5_2.yaml", "uda/demo_camvid.yaml", 4),
        ("enet_losses.yaml", "supervised/enet_camvid.yaml", 5),
    ],
)
def test_other_bases(name: str, base: str, count: int) -> None:
    grid = planned(name, base)[0]
    start, rows = base_of(name, base), settings_of(name, base)
    assert len(set(map(repr, rows.values()))) == len(rows) == count
    for row in grid.rows:
        if not row.cited:
            changed = differences(start, rows[row.name], row.changes)
            said = row.changes.keys() & to_flat(rows[row.name])
            assert changed - {"training.iterations", "training.epochs"} == said


def published(name: str) -> dict[str, dict[str, float]]:
    return {row.name: dict(row.published) for row in planned(name)[0].rows}


@pytest.mark.parametrize("data", ["voc", "cityscapes"])
@pytest.mark.parametrize(
    ("network", "title", "baseline"),
    [("fcn8s", "FCN-8s", "lambda 5e-4"), ("resnet50", "ResNet-50", "lambda 1e-4")],
)
def test_rows_of_a_summary_are_rows_of_its_tables(
    data: str, network: str, title: str, baseline: str
) -> None:
    summary, table = f"adversarial_table_4_9_{data}.yaml", f"adversarial_{network}_{data}.yaml"
    for name, twin in (("baseline", baseline), ("T_g 0.5", "T_g 0.5")):
        own = f"{title}, {name}"
        assert published(summary)[own] == published(table)[twin]
        assert not differences(settings_of(summary)[own], settings_of(table)[twin])


def test_tables_that_share_runs_share_their_published_values() -> None:
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


@pytest.mark.parametrize("name", DELTAS)
def test_published_deltas_follow_from_the_numbers_of_the_file(name: str) -> None:
    grid = load_grid(FOLDER / name)
    results = collect(grid, [], {})
    for who, deltas in DELTAS[name].items():
        for amount, delta in deltas.items():
            prefix = f"{who}, {amount}" if who else amount
            (row,) = (one for one in results if one.name == f"{prefix}, SSL")
            assert row.against == f"{prefix}, baseline"
            assert difference(results, row, "mIoU").published == pytest.approx(delta, abs=1e-9)


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
        ("default: one\n", "", "line 1: default is missing"),
        ("published: 51.2", "against: three", r"line 7: against: unknown other row 'three'"),
        ("published: 51.2", "against: two", r"line 7: against: unknown other row 'two'"),
        ("published: 51.2", "cited: 51.2", r"line 7: 'two' is cited, .* takes no set"),
        ("published: 51.2", "published: {IoU: 5}", r"line 7: .*metric of this grid 'IoU'.*mIoU"),
        ("published: 51.2", "published: 0", r"line 7: published must be .* found 0"),
        ("published: 51.2", "published: 151.2", r"line 7: published must be .* found 151.2"),
        ("published: 51.2", "with_base: 3", r"line 7: with_base must be a mapping"),
        (
            "published: 51.2",
            "with_base: {no.yaml: {}}",
            r"line 7: with_base: there is no",
        ),
        (
            "published: 51.2",
            "with_base: {base.yaml: {optimizer.rl: 1}}",
            r"line 7: unknown setting 'optimizer.rl'",
        ),
        ("published: 51.2", "longer: no", r"line 7: longer must be a number above 0"),
        ("title: Two", "title: Two\nmetrics: [mIou]", r"line 3: unknown metric 'mIou'.*'mIoU'"),
        ("title: Two", "title: Two\nmetrics: mIoU", r"line 3: metrics must be a list"),
        (
            "title: Two",
            "title: Two\nmetrics: [mIoU, mIoU]",
            r"line 3: metrics must be a list of diff",
        ),
        (
            "title: Two",
            "title: Two\nmetrics: [mIoU, mIoU-13]",
            r"line 8: published must say what it is a value of, such as \{mIoU: 61.2\}",
        ),
        (
            "  one:\n  two: {set: {optimizer.lr: 0.5}, published: 51.2}",
            "  one: {cited: 3}\n  two: {cited: 4}",
            r"line 5: rows: every one is cited",
        ),
        ("base: base.yaml", "base: other.yaml", r"line 3: base: there is no preset .*other.yaml"),
        ("optimizer.lr: 0.5", "seed: 5", r"line 7: seed: an ablation gives each run its own"),
        ("optimizer.lr", "optimizer.rl", r"line 7: unknown setting 'optimizer.rl'.*optimizer.lr"),
        ("published: 51.2", "published: yes", r"published must be a number"),
        ("published: 51.2", "publshed: 51", r"unknown key 'publshed'"),
        ("  two:", "  One:", r"'one' must .* differ from the other rows"),
        ("  two:", "  '...':", r"'\.\.\.' must have a letter"),
        ("title: Two", "title: Two\nseeds: 0", "seeds must be a whole number above 0"),
        ("title: Two", "title: Two\nnetwork: pupil", "network must be student, teacher or average"),
        ("rows:", "rows: 3\nold:", "unknown key 'old'"),
    ],
)
def test_what_is_no_grid(folder: Path, old: str, new: str, message: str) -> None:
    path = folder / "grid.yaml"
    assert old in VALID
    path.write_text(VALID.replace(old, new))
    with pytest.raises(ConfigError, match=message):
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


def test_a_row_that_cannot_work_is_named_before_anything_runs(folder: Path) -> None:
    path = folder / "grid.yaml"
    path.write_text(VALID.replace("0.5", "-0.5"))
    with pytest.raises(ConfigError, match=r"row 'two'.*optimizer\.lr must be"):
        plan(load_grid(path), folder / "out", range(1), {})
    assert not (folder / "out").exists()


def test_a_common_length_is_not_overruled_by_a_row_in_silence(folder: Path, tmp_path: Path) -> None:
    (folder / "two.yaml").write_text(VALID.replace("optimizer.lr: 0.5", "training.epochs: 5"))
    grid = load_grid(folder / "two.yaml")
    message = r"row 'two': training\.iterations would be overruled by training\.epochs"
    with pytest.raises(ConfigError, match=message):
        plan(grid, tmp_path / "out", [0], {"training.iterations": 6})
    assert len(plan(grid, tmp_path / "out", [0], {"optimizer.momentum": 0.8})) == 2
