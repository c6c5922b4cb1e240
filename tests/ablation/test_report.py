"""Tables from scores that are known."""

from __future__ import annotations

import csv
import io
import json
import statistics
from pathlib import Path

from PIL import Image

from mixseg.ablation import Grid, Row, RowResult, write_report
from mixseg.ablation.report import MISSING, cells

GRID = Grid("Title | of <it>", Path("base.yaml"), "student", 3, "one", (Row("one", {}),))
RESULTS = (
    RowResult("one", {0: 40.0, 1: 41.0, 2: 43.0}, 50.0, ""),
    RowResult("=two|", {0: 38.0}, None, "Killed"),
    RowResult("three", {}, 47.5, "error: no\x1b[31m such file"),
    RowResult("four", {0: 44.0, 1: 46.0}, 51.25, ""),
)


def test_means_deviations_and_differences() -> None:
    one, two, three, four = cells(GRID, RESULTS)
    deviation = statistics.stdev([40, 41, 43])
    assert one == ("one", f"41.33 ± {deviation:.2f}", "3", MISSING, "50.00", MISSING)
    assert two == ("=two|", "38.00 failed: Killed", "1", "-3.33", MISSING, MISSING)
    assert three[1].startswith("failed: error: no") and three[3:] == (MISSING, "47.50", "-2.50")
    assert four == ("four", f"45.00 ± {2**0.5:.2f}", "2", "+3.67", "51.25", "+1.25")


def test_the_files_say_the_same_and_nothing_in_a_name_acts(tmp_path: Path) -> None:
    write_report(tmp_path, GRID, RESULTS)
    text = (tmp_path / "table.md").read_text()
    assert text.startswith("Title \\| of &lt;it&gt;: mIoU of the student")
    assert "\x1b" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 6 and all(row.replace("\\|", "").count("|") == 7 for row in rows)
    content = json.loads((tmp_path / "table.json").read_text())
    assert [row["mean"] for row in content["rows"]] == [one.mean for one in RESULTS]
    lines = list(csv.reader(io.StringIO((tmp_path / "runs.csv").read_text())))
    assert lines[0] == ["setting", "seed", "miou"]
    assert [line[0] for line in lines[1:]] == ["one"] * 3 + ["'=two|"] + ["four"] * 2
    assert [float(line[2]) for line in lines[1:]] == [40, 41, 43, 38, 44, 46]
    with Image.open(tmp_path / "chart.png") as picture:
        assert picture.width > 400
