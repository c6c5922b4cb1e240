"""What is looked at before the runs of a table."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from mixseg.ablation import Job, check_files
from mixseg.config import resolve_settings
from mixseg.errors import ConfigError


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A run whose data and weights are gone."""
    gone = {"data.dataset": "camvid", "data.root": str(tmp_path / "gone")}
    settings = resolve_settings([], gone | {"model.weights": str(tmp_path / "gone.pth")})
    return Job("row", 0, tmp_path / "out" / "row-seed0", settings)


def test_a_run_that_is_done_needs_no_files(job: Job) -> None:
    with pytest.raises(ConfigError, match=r"row 'row': data.root: .*gone: there is no such"):
        check_files([job])
    job.folder.mkdir(parents=True)
    (job.folder / "summary.json").write_text("{}")
    check_files([job])


def test_a_run_with_a_checkpoint_needs_no_initial_weights(job: Job, tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    with pytest.raises(ConfigError, match=r"model.weights: .*gone\.pth"):
        check_files([job])
    teacher = dataclasses.replace(job.settings.distillation, teacher="gone")
    distilled = dataclasses.replace(job.settings, method="distillation", distillation=teacher)
    (job.folder / "checkpoints" / "step-00000002").mkdir(parents=True)
    # Nor the run that it learns from, of which it keeps a copy.
    check_files([job, dataclasses.replace(job, settings=distilled)])
