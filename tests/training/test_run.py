"""A run from Python: silent unless logging is configured, and told of by a callback."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest

from mixseg.config.resolve import resolve_settings
from mixseg.config.sections import Settings
from mixseg.terminal import new_console
from mixseg.training.checkpoint import read_checkpoint, write_checkpoint
from mixseg.training.run import resume, start

TINY = {
    "method": "supervised",
    "data.labeled": "1/2",
    "data.workers": 0,
    "demo.train_images": 4,
    "demo.val_images": 2,
    "demo.size": [64, 64],
    "model.backbone": "test_resnet",
    "model.output_stride": 16,
    "model.rates": [1, 2],
    "model.weights": "none",
    "model.batch_norm": "train",
    "training.iterations": 3,
    "training.log_every": 1,
    "training.precision": "fp32",
    "training.device": "cpu",
    "validation.every": 2,
    "name": "run",
}


def settings_in(folder: Path) -> Settings:
    return resolve_settings([], TINY | {"output": str(folder)})


def test_silent_with_a_callback(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # As it is where no command has run before.
    monkeypatch.setattr(logging.getLogger("mixseg"), "handlers", [logging.NullHandler()])
    seen: list[tuple[int, int, str]] = []
    outcome, run = start(settings_in(tmp_path), lambda *told: seen.append(told))
    assert capfd.readouterr() == ("", "")
    assert [told[:2] for told in seen] == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert seen[-1][2].startswith("loss ")
    assert outcome.scores.keys() == outcome.best.keys() == {"student", "average"}
    logged = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert sum("miou/average" in line for line in logged) == 2
    assert (run / "checkpoints" / "best-average" / "average.safetensors").is_file()

    new_console()  # as a command has one
    with pytest.raises(Exception, match="exists already"):
        start(settings_in(tmp_path))
    logging.getLogger("mixseg").info("shown [red]\x1b")
    assert "shown [red]\\x1b\n" in capfd.readouterr().out


def test_a_run_whose_average_was_saved_as_teacher_goes_on(tmp_path: Path) -> None:
    _, run = start(settings_in(tmp_path))
    checkpoints = run / "checkpoints"
    for path in (checkpoints / "step-00000003", checkpoints / "best-average"):
        saved = read_checkpoint(path)
        tensors = {name.replace("average", "teacher"): one for name, one in saved.tensors.items()}
        best = saved.state.get("best", {})
        best = {name.replace("average", "teacher"): one for name, one in best.items()}
        write_checkpoint(path, tensors, saved.state | {"best": best})
    (checkpoints / "best-average").rename(checkpoints / "best-teacher")
    longer = {"training.iterations": 5}
    outcome, _ = resume(run, longer, allow_changes=True)
    assert outcome.step == 5
    assert outcome.scores.keys() == outcome.best.keys() == {"student", "average"}
    assert (checkpoints / "best-average").is_dir() and not (checkpoints / "best-teacher").exists()
    shutil.rmtree(checkpoints)
