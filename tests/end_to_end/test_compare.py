"""``tools/compare.py`` as a person runs it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.end_to_end.processes import Launcher, refuses, tree


def test_compare(reference: Path, launch: Launcher, tmp_path: Path) -> None:
    # The same run before its end: what a process leaves that was killed after step 6.
    stopped = tmp_path / "stopped"
    shutil.copytree(reference, stopped)
    (stopped / "summary.json").unlink()
    lines = (reference / "metrics.jsonl").read_text().splitlines(keepends=True)
    kept = [line for line in lines if json.loads(line)["step"] <= 6]
    (stopped / "metrics.jsonl").write_text("".join(kept))
    before = tree(stopped)

    done = launch.ok("compare", reference, stopped, "--output", "table.json")
    last = json.loads((reference / "summary.json").read_text())["last"]
    first, second = json.loads((tmp_path / "table.json").read_text())
    teacher = first["last"]["teacher"]
    assert (teacher["step"], teacher["miou"]) == (8, 100 * last["teacher"]["miou"])
    assert f"{100 * last['student']['miou']:.2f}" in done.out
    assert "unfinished, step 6 of 8" in done.out
    assert (second["step"], second["last"]["student"]["step"]) == (6, 4)
    assert first["settings"] == {} and first["parameters"] == second["parameters"] > 0
    assert tree(stopped) == before, "an unfinished run may be going on, and is only read"

    partly = launch("compare", reference, "gone")
    assert partly.code == 1 and "left out" in partly.out and "gone is no folder" in partly.out
    refuses("compare", "gone", words=["folder of a run"], code=1)
    for name, word in (("table.txt", ".csv, .json, .md"), ("none/table.md", "none/table.md")):
        refuses("compare", reference, "--output", name, words=[word])
