"""A run on a CPU chooses its precision once."""

from __future__ import annotations

import json
from pathlib import Path

from tests.end_to_end.processes import Launcher


def test_a_resumed_run_keeps_its_precision(launch: Launcher, config: Path, tmp_path: Path) -> None:
    given = ("--config", config, "--output", "out", "--name", "run", "--precision", "auto")
    done = launch("train_ssl", *given, "--device", "cpu", "--iterations", 2, cwd=tmp_path)
    assert done.code == 0, done.text
    run = tmp_path / "out" / "run"
    record = run / "precision.json"
    chosen = json.loads(record.read_text())["precision"]
    assert f"precision {chosen}: " in done.out
    assert json.loads((run / "summary.json").read_text())["precision"] == chosen
    # As if the run had begun on a machine where the other one is faster.
    other = {"fp32": "bf16", "bf16": "fp32"}[chosen]
    record.write_text(json.dumps({"precision": other}))
    more = ("--iterations", 3, "--allow-changes")
    done = launch("train_ssl", "--resume", run, *more, cwd=tmp_path)
    assert done.code == 0, done.text
    assert f"cpu, {other}, " in done.out
    assert "precision fp32: " not in done.out and "precision bf16: " not in done.out
    assert json.loads((run / "summary.json").read_text())["precision"] == other
