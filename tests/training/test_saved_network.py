"""Networks out of checkpoints: which one is taken, what is said of it, and what is no network."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mixseg.config.resolve import resolve_settings
from mixseg.config.schema import to_flat
from mixseg.data.cityscapes import CITYSCAPES
from mixseg.errors import CheckpointError
from mixseg.training.checkpoint import read_checkpoint, write_checkpoint
from mixseg.training.saved_network import load_networks, network_card
from tests.models.build import small_model

STEP = 8


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with a student and a teacher at step 8, without a log."""
    student, teacher = (small_model(seed, num_classes=len(CITYSCAPES)) for seed in range(2))
    card = network_card(student.spec, CITYSCAPES, {})
    networks = {"student": student.state_dict(), "teacher": teacher.state_dict()}
    path = tmp_path / "runs" / "mine"
    (path / "checkpoints").mkdir(parents=True)
    write_checkpoint(path / "checkpoints" / f"step-{STEP:08d}", networks, card | {"step": STEP})
    return path


def log(run: Path, *lines: dict[str, object]) -> None:
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def validation(step: int, student: float | None, teacher: float | None) -> dict[str, object]:
    return {"step": step, "miou/student": student, "miou/teacher": teacher}


Said = Callable[[Path, str], str]


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Said:
    """What is said of the networks that are loaded."""
    caplog.set_level("INFO", "mixseg")

    def load(path: Path, which: str) -> str:
        caplog.clear()
        load_networks(path, which).report("--network")
        return "\n".join(caplog.messages)

    return load


class TestWhatIsSaid:
    def test_the_network_and_its_last_score(self, said: Said, run: Path) -> None:
        for lines in ([], [{"step": 8}], [validation(8, None, None)], [{"miou/teacher": 1.0}]):
            assert said(run, "either") == "mine, step 8: teacher"
            log(run, *lines)
        log(run, validation(4, 0.9, 0.1), {"step": 6, "lr": 1.0}, validation(8, 0.208, 0.197))
        assert said(run, "either") == (
            "mine, step 8: teacher (mIoU 19.70) in the run's validation at step 8"
        )
        assert "student (mIoU 20.80), teacher (mIoU 19.70)" in said(run, "both")
        # Later validations are not those of the checkpoint.
        log(run, validation(4, 0.5, 0.6), validation(12, 0.9, 0.1))
        assert "60.00) in the run's validation at step 4" in said(run, "teacher")

    @pytest.mark.parametrize(("which", "other"), [("teacher", "student"), ("student", "teacher")])
    def test_the_other_one_is_clearly_better(
        self, said: Said, run: Path, which: str, other: str
    ) -> None:
        log(run, validation(8, **{which: 0.047, other: 0.208}))
        text = said(run, which)
        assert all(one in text for one in (f"--network {other}", "20.80", "4.70"))
        for asked_for in (other, "both"):
            assert "note" not in said(run, asked_for)
        log(run, validation(8, **{which: 0.208, other: 0.2279}))
        assert "note" not in said(run, which), "a little better is not worth a word"

    def test_a_checkpoint_that_holds_one_network_or_lies_elsewhere(
        self, said: Said, run: Path
    ) -> None:
        log(run, validation(8, 0.2, 0.9))
        whole = read_checkpoint(run / "checkpoints" / f"step-{STEP:08d}")
        path = run / "checkpoints" / "best-student"
        write_checkpoint(path, {"student": whole.tensors["student"]}, whole.state)
        assert said(path, "either") == (
            "mine, step 8: student (mIoU 20.00) in the run's validation at step 8"
        )
        whole.path.rename(run.parent / "copied")
        assert said(run.parent / "copied", "either") == "copied, step 8: teacher"


def test_what_is_no_network(run: Path) -> None:
    path = run / "checkpoints" / f"step-{STEP:08d}"
    whole = read_checkpoint(path)
    key, weight = next(one for one in whole.tensors["teacher"].items() if one[1].dim() == 4)
    one_nan = weight.clone()
    one_nan.view(-1)[0] = math.nan
    for changed in (weight.to(torch.int64), one_nan, torch.full_like(weight, -math.inf)):
        whole.tensors["teacher"][key] = changed
        write_checkpoint(path, whole.tensors, whole.state)  # with hashes that are right
        for which in ("teacher", "both", "either"):
            with pytest.raises(CheckpointError) as caught:
                load_networks(run, which)
            assert f"{path / 'teacher.safetensors'}: key {key!r}" in str(caught.value)
        assert load_networks(run, "student").networks.keys() == {"student"}


def test_an_average_that_was_saved_as_teacher(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = run / "checkpoints" / f"step-{STEP:08d}"
    whole = read_checkpoint(path)
    with pytest.raises(CheckpointError, match="'average'"):
        load_networks(run, "average")
    settings = to_flat(resolve_settings([], {"method": "supervised"}))
    write_checkpoint(path, whole.tensors, whole.state | {"settings": settings})
    log(run, validation(8, 0.2, 0.9))
    for which in ("average", "teacher", "either"):
        saved = load_networks(run, which)
        assert saved.networks.keys() == {"average"}
        assert saved.describe().startswith("mine, step 8: average (mIoU 90.00)")
    assert "called average" in caplog.text
    assert load_networks(run, "both").networks.keys() == {"student", "average"}
    better = load_networks(run, "student").better_one()
    assert better is not None and better[0] == "average"
