"""What is looked at before the runs of a table."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from mixseg.ablation.checks import check_files, check_runs, unlike_data
from mixseg.ablation.grid import Grid, Row
from mixseg.ablation.results import collect
from mixseg.ablation.runs import Job, plan
from mixseg.config.resolve import resolve_settings
from mixseg.errors import ConfigError, DataError


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A run whose data and weights are gone."""
    gone = {"data.dataset": "camvid", "data.root": str(tmp_path / "gone")}
    settings = resolve_settings([], gone | {"model.weights": str(tmp_path / "gone.pth")})
    return Job("row", 0, tmp_path / "out" / "row-seed0", settings)


def test_files_of_runs_that_are_not_done(job: Job, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"row 'row': data\.root: .*gone:"):
        check_files([job])
    (tmp_path / "gone").mkdir()
    with pytest.raises(ConfigError, match=r"model\.weights: .*gone\.pth"):
        check_files([job])
    teacher = dataclasses.replace(job.settings.distillation, teacher="gone")
    distilled = dataclasses.replace(job.settings, method="distillation", distillation=teacher)
    (job.folder / "checkpoints" / "step-00000002").mkdir(parents=True)
    # With a checkpoint, no initial weights, nor the run that it learns from: it keeps a copy.
    check_files([job, dataclasses.replace(job, settings=distilled)])
    (tmp_path / "gone").rmdir()
    (job.folder / "summary.json").write_text("{}")
    check_files([job])


def test_a_damaged_summary_is_named(job: Job) -> None:
    job.folder.mkdir(parents=True)
    grid = Grid("title", Path("base.yaml"), "student", 1, job.row, (Row(job.row, {}),))
    student = '{"last": {"student": {"miou": "1"}}}'
    for content in ("", "{", "[]", '{"last": {}}', student, "[" * 100_000):
        (job.folder / "summary.json").write_text(content)
        with pytest.raises(DataError, match=str(job.folder / "summary.json")):
            collect(grid, [job], {})


def test_runs_on_data_that_changed_in_between(job: Job, tmp_path: Path) -> None:
    val = {"a": [10, 20], "b": [10, 20]}
    record = {"classes": ["road", "car"], "label_ids": {"0": "road", "1": "car"}, "val": val}
    record |= {"source_ids": {}, "labeled": {}, "unlabeled": []}
    swapped = record | {"label_ids": {"1": "road", "0": "car"}}
    jobs = [dataclasses.replace(job, folder=tmp_path / name, seed=i) for i, name in enumerate("xy")]

    def unlike(second: dict[str, object], **data: object) -> list[str]:
        for one, content in zip(jobs, (record, second), strict=True):
            one.folder.mkdir(exist_ok=True)
            (one.folder / "data.json").write_text(json.dumps(content))
        settings = dataclasses.replace(
            job.settings, data=dataclasses.replace(job.settings.data, **data)
        )
        return unlike_data([jobs[0], dataclasses.replace(jobs[1], settings=settings)])

    assert unlike(record | {"labeled": {"c": 3}}) == []  # every seed has its own
    assert unlike(swapped, val_split="test") == []  # a row on other data
    (line,) = unlike(swapped)
    for named in (str(jobs[0].folder), str(jobs[1].folder), "label ids: 0 road -> car"):
        assert named in line


def test_an_unknown_name_is_found_before_the_first_row_trains(tmp_path: Path) -> None:
    base = tmp_path / "base.yaml"
    base.write_text("")
    for setting, value in {
        "method": "supervisd",
        "supervised_loss.name": "cross-entropi",
        "model.backbone": "resnet49",
        "data.dataset": "cityscape",
        "regularizer": "adverserial",
    }.items():
        rows = (Row("one", {}), Row("two", {setting: value}))
        grid = Grid("title", base, "student", 1, "one", rows)
        with pytest.raises(ConfigError, match=f"row 'two'.*{value}"):
            check_runs(plan(grid, tmp_path / "out", [0], {}))
    assert not (tmp_path / "out").exists()
