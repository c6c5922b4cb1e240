"""Lines of metrics, cut back to the checkpoint that a run goes on from."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from mixseg.engine.run_log import MetricsLog


class TestMetricsLog:
    def test_is_cut_back_to_the_offset_and_appended_to(self, tmp_path: Path) -> None:
        path = tmp_path / "metrics.jsonl"
        log = MetricsLog(path)
        log.write({"step": 1})
        offset, sha256 = log.written()
        log.write({"step": 2})
        log.close()
        log = MetricsLog(path, offset, sha256)
        assert not log.problem
        assert log.written() == (offset, sha256)
        log.write({"step": 2, "again": True})
        log.close()
        records = [json.loads(line) for line in path.read_text().splitlines()]
        assert records == [{"step": 1}, {"step": 2, "again": True}]

    def test_the_offset_is_on_disk(self, tmp_path: Path) -> None:
        log = MetricsLog(tmp_path / "metrics.jsonl")
        log.write({"step": 1})
        content = (tmp_path / "metrics.jsonl").read_bytes()
        assert log.written() == (len(content), hashlib.sha256(content).hexdigest())
        assert content
        log.close()

    def test_a_file_that_became_shorter_is_not_filled_with_zeros(self, tmp_path: Path) -> None:
        path = tmp_path / "metrics.jsonl"
        log = MetricsLog(path, offset=500)  # the file was removed since the checkpoint
        log.write({"step": 3})
        log.close()
        assert [json.loads(line) for line in path.read_bytes().splitlines()] == [{"step": 3}]

    @pytest.mark.parametrize("damage", ["cut", "cut and joined", "edited"])
    def test_what_became_of_it_is_said_and_no_line_joins_half_of_another(
        self, damage: str, tmp_path: Path
    ) -> None:
        path = tmp_path / "metrics.jsonl"
        log = MetricsLog(path)
        for step in (1, 2):
            log.write({"step": step})
        offset, sha256 = log.written()
        log.close()
        whole = path.read_bytes()
        damaged = {
            "cut": whole[:-3],
            "cut and joined": whole[:-3] + whole,
            "edited": whole.replace(b"1", b"7"),
        }
        path.write_bytes(damaged[damage])
        log = MetricsLog(path, offset, sha256)
        assert str(path) in log.problem
        log.write({"step": 3})
        content = path.read_bytes()
        assert log.written() == (len(content), hashlib.sha256(content).hexdigest())
        log.close()
        first = 7 if damage == "edited" else 1
        wanted = [first, 2, 3] if damage == "edited" else [first, 3]
        assert [json.loads(line)["step"] for line in content.splitlines()] == wanted

    def test_every_line_is_json(self, tmp_path: Path) -> None:
        log = MetricsLog(tmp_path / "metrics.jsonl")
        log.write({"step": 1, "gradient_norm": float("inf"), "loss": float("nan"), "lr": 0.5})
        log.close()

        def refuse(name: str) -> None:
            raise ValueError(name)

        text = (tmp_path / "metrics.jsonl").read_text()
        record = json.loads(text, parse_constant=refuse)
        assert record == {"step": 1, "gradient_norm": None, "loss": None, "lr": 0.5}


CURVES = """
import resource, sys, time
from pathlib import Path
from mixseg.engine.run_log import Curves
from mixseg.errors import TrainingError

curves = Curves(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
try:
    for step in range(200):
        curves.write(step, {"loss": 0.5, "unknown": None})
        time.sleep(0.01)  # for TensorBoard's thread, which writes the first point at once
except TrainingError as error:
    print(error)
curves.close()
"""


@pytest.mark.slow
def test_curves_on_a_full_disk(tmp_path: Path) -> None:
    """A limit on the size of files is what a full disk is to those who cannot mount one."""
    pytest.importorskip("tensorboard", reason="an extra that the tests do not ask for")
    done = subprocess.run(
        [sys.executable, "-c", CURVES, str(tmp_path / "curves")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert f"{tmp_path}/curves: could not be written: File too large" in done.stdout + done.stderr
