"""What loggers write, and cut back to the checkpoint that a run goes on from."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mixseg.training.loggers import JsonLines


def opened(run: Path, saved: dict[str, Any] | None = None) -> JsonLines:
    log = JsonLines(run)
    log.begin(0, saved or {})
    return log


def test_is_cut_back_to_the_checkpoint_and_appended_to(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = opened(tmp_path)
    log.log(1, {})
    saved = log.saved()
    content = (tmp_path / "metrics.jsonl").read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    assert saved == {"metrics_offset": len(content), "metrics_sha256": sha256}
    log.log(2, {})
    log.close()
    log = opened(tmp_path, saved)
    assert log.saved() == saved
    # JSON has no number that is not finite.
    log.log(3, {"gradient_norm": float("inf"), "loss": float("nan"), "lr": 0.5})
    log.close()
    first, second = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    assert first == {"step": 1}
    assert second == {"step": 3, "gradient_norm": None, "loss": None, "lr": 0.5}
    assert not caplog.messages


@pytest.mark.parametrize("damage", ["removed", "cut", "cut and joined", "edited"])
def test_a_changed_file_is_named_and_no_line_joins_half_of_another(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "metrics.jsonl"
    log = opened(tmp_path)
    for step in (1, 2):
        log.log(step, {})
    saved = log.saved()
    log.close()
    whole = path.read_bytes()
    damaged = {
        "removed": b"",
        "cut": whole[:-3],
        "cut and joined": whole[:-3] + whole,
        "edited": whole.replace(b"1", b"7"),
    }
    path.write_bytes(damaged[damage])
    log = opened(tmp_path, saved)
    assert str(path) in caplog.text
    log.log(3, {})
    assert log.saved()["metrics_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    log.close()
    steps = [json.loads(line)["step"] for line in path.read_text().splitlines()]
    assert steps == {"removed": [3], "edited": [7, 2, 3]}.get(damage, [1, 3])


CURVES = """
import resource, sys, time
from pathlib import Path
from mixseg.errors import TrainingError
from mixseg.training.loggers import TensorBoard

board = TensorBoard(Path(sys.argv[1]))
board.begin(0, {})
resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
try:
    for step in range(200):
        board.log(step, {"loss": 0.5, "unknown": None})
        time.sleep(0.01)  # for TensorBoard's thread, which writes the first point at once
except TrainingError as error:
    print(error)
board.close()
"""


@pytest.mark.slow
def test_curves_on_a_full_disk(tmp_path: Path) -> None:
    """A limit on the size of files is what a full disk is to those who cannot mount one."""
    pytest.importorskip("tensorboard", reason="an extra that the tests do not ask for")
    done = subprocess.run(
        [sys.executable, "-c", CURVES, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert f"{tmp_path}/tensorboard: could not be written: File too large" in done.stdout
