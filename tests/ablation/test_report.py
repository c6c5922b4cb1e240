"""Tables from scores that are known."""

from __future__ import annotations

import csv
import io
import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

from mixseg.ablation.grid import Grid, Row
from mixseg.ablation.report import (
    CHART,
    CITED,
    MISSING,
    cells,
    chart,
    columns,
    precision_note,
    terminal_tables,
    write_report,
)
from mixseg.ablation.results import Measured, RowResult

GRID = Grid(
    "Title | of <it>",
    Path("base.yaml"),
    "student",
    3,
    "one",
    (Row("one", {}), Row("=two|", {}, against="one")),
)


def result(
    name: str, scores: dict[int, float], published: float | None, error: str, against: str | None
) -> RowResult:
    return RowResult(name, {"mIoU": Measured(scores, published)}, error, against)


RESULTS = (
    result("one", {0: 40.0, 1: 41.0, 2: 43.0}, 50.0, "", None),
    result("=two|", {0: 38.0}, None, "Killed", "one"),
    result("three", {}, 47.5, "error: no\x1b[31m such file", "one"),
    result("four", {0: 44.0, 1: 46.0}, 51.25, "", "one"),
)
PARTIAL = RowResult("one", {"mIoU": Measured({0: 99.0}, None, "1 of 2 classes")})

# Two amounts of labels, one method of somebody else, and two metrics.
CITED_ROWS = ("theirs, 1/8", "theirs, 1/8, SSL")
AMOUNTS = Grid(
    "Amounts",
    Path("base.yaml"),
    "teacher",
    2,
    None,
    (
        *(Row(name, {}, cited=True) for name in CITED_ROWS),
        Row("1/8", {}),
        Row("1/8, SSL", {}, against="1/8"),
    ),
    ("mIoU", "pixel accuracy"),
)


def two_metrics(name: str, miou: Measured, accuracy: dict[int, float], **more: Any) -> RowResult:
    return RowResult(name, {"mIoU": miou, "pixel accuracy": Measured(accuracy)}, **more)


AMOUNT_RESULTS = (
    two_metrics(CITED_ROWS[0], Measured({}, 50.5), {}, cited=True),
    two_metrics(CITED_ROWS[1], Measured({}, 49.25), {}, against=CITED_ROWS[0], cited=True),
    two_metrics(
        *("1/8", Measured({0: 41.0, 1: 44.0}, 48.0), {0: 80.0, 1: 82.0}),
        classes={"road": 90.0, "traffic light": 12.5},
    ),
    two_metrics(
        *("1/8, SSL", Measured({0: 46.0, 1: 45.5}, 54.5), {0: 81.5, 1: 80.5}),
        against="1/8",
        classes={"road": 91.0},
    ),
)


def test_means_deviations_and_differences() -> None:
    one, two, three, four = cells(GRID, RESULTS, "mIoU")
    deviation = statistics.stdev([40, 41, 43])
    assert one == ("one", f"41.33 ± {deviation:.2f}", "3", MISSING, "50.00", MISSING)
    assert two == ("=two|", "38.00 failed: Killed", "1", "-3.33", MISSING, MISSING)
    assert three[1].startswith("failed: error: no") and three[3:] == (MISSING, "47.50", "-2.50")
    assert four == ("four", f"45.00 ± {2**0.5:.2f}", "2", "+3.67", "51.25", "+1.25")


def test_means_over_fewer_classes_say_so(tmp_path: Path) -> None:
    assert cells(GRID, [PARTIAL], "mIoU")[0][1] == "99.00 (1 of 2 classes)"
    write_report(tmp_path, GRID, [PARTIAL])
    assert "99.00 (1 of 2 classes)" in (tmp_path / "table.md").read_text()
    (row,) = json.loads((tmp_path / "table.json").read_text())["rows"]
    (line,) = csv.DictReader(io.StringIO((tmp_path / "table.csv").read_text()))
    assert row["metrics"]["mIoU"]["covered"] == line["note"] == "1 of 2 classes"


def test_rows_that_are_compared_with_different_ones_say_with_which() -> None:
    assert columns(AMOUNTS, "mIoU")[3:5] == ("against", "delta")
    theirs, their_ssl, baseline, ssl = cells(AMOUNTS, AMOUNT_RESULTS, "mIoU")
    assert theirs[1:] == (CITED, MISSING, MISSING, MISSING, "50.50", MISSING)
    assert their_ssl[1:] == (CITED, MISSING, "theirs, 1/8", MISSING, "49.25", "-1.25")
    assert baseline[3:] == (MISSING, MISSING, "48.00", MISSING)
    # (46 + 45.5) / 2 - (41 + 44) / 2
    assert ssl[2:] == ("2", "1/8", "+3.25", "54.50", "+6.50")
    assert cells(AMOUNTS, AMOUNT_RESULTS, "pixel accuracy")[3][4:] == ("+0.00", MISSING, MISSING)


def test_the_files_say_the_same_and_nothing_in_a_name_acts(tmp_path: Path) -> None:
    files = write_report(tmp_path, GRID, RESULTS)
    assert {path.name for path in tmp_path.iterdir()} == set(files)
    assert CHART in files
    text = (tmp_path / "table.md").read_text()
    assert text.startswith("Title \\| of &lt;it&gt;: mIoU of the student")
    assert "\x1b" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 6 and all(row.replace("\\|", "").count("|") == 7 for row in rows)
    content = json.loads((tmp_path / "table.json").read_text())
    means = [row["metrics"]["mIoU"]["mean"] for row in content["rows"]]
    assert means == [one.metrics["mIoU"].mean for one in RESULTS]
    lines = list(csv.reader(io.StringIO((tmp_path / "runs.csv").read_text())))
    assert lines[0] == ["setting", "seed", "mIoU", "overrides"]
    assert [line[0] for line in lines[1:]] == ["one"] * 3 + ["'=two|"] + ["four"] * 2
    assert [float(line[2]) for line in lines[1:]] == [40, 41, 43, 38, 44, 46]
    table = list(csv.DictReader(io.StringIO((tmp_path / "table.csv").read_text())))
    assert [line["setting"] for line in table] == ["one", "'=two|", "three", "four"]
    assert table[2]["note"] == "error: no\\x1b[31m such file"
    with Image.open(tmp_path / "chart.png") as picture:
        assert picture.width > 400


def test_every_file_has_metrics_comparisons_and_citations(tmp_path: Path) -> None:
    write_report(tmp_path, AMOUNTS, AMOUNT_RESULTS)
    text = (tmp_path / "table.md").read_text()
    assert text.count("Amounts: ") == 2
    assert "pixel accuracy of the teacher at the last step" in text
    lines = list(csv.DictReader(io.StringIO((tmp_path / "table.csv").read_text())))
    content = json.loads((tmp_path / "table.json").read_text())
    assert len(lines) == 2 * len(content["rows"])
    for line in lines:
        row = next(row for row in content["rows"] if row["name"] == line["setting"])
        value = row["metrics"][line["metric"]]
        for key in ("mean", "deviation", "difference", "published"):
            number = float(line[key]) if line[key] else None
            assert number == (None if value[key] is None else pytest.approx(value[key], abs=1e-4))
        assert row["cited"] == (line["note"] == CITED)
        assert (row["against"] or "") == line["against"]
    runs = list(csv.DictReader(io.StringIO((tmp_path / "runs.csv").read_text())))
    assert [run["pixel accuracy"] for run in runs] == ["80.0000", "82.0000", "81.5000", "80.5000"]
    classes = (tmp_path / "classes.md").read_text().splitlines()
    assert classes[2] == "| setting | Road | TL | mIoU | pixel accuracy |"
    assert classes[4:] == [
        "| 1/8 | 90.00 | 12.50 | 42.50 | 81.00 |",
        f"| 1/8, SSL | 91.00 | {MISSING} | 45.75 | 81.00 |",
    ]


def test_overrides_and_what_is_left_out_stand_under_the_title_everywhere(tmp_path: Path) -> None:
    overrides = ("training.iterations: 40000 -> 3", "model.weights: imagenet -> =w|\x1b[31m.pth")
    made = replace(GRID, overrides=overrides, left_out="Published values are left out: reasons.")
    write_report(tmp_path, made, RESULTS)
    for name in ("table.md", "classes.md"):
        title, _, changed, _, left_out, *_ = (tmp_path / name).read_text().split("\n")
        assert title.startswith("Title") and "40000 -" in changed and "=w\\|" in changed
        assert left_out.endswith("left out: reasons.")
    content = json.loads((tmp_path / "table.json").read_text())
    assert content["overrides"] == list(overrides)
    assert content["left_out"] == made.left_out
    for name in ("table.csv", "runs.csv"):
        text = (tmp_path / name).read_text()
        assert "\x1b" not in text
        for line in csv.DictReader(io.StringIO(text)):
            assert line["overrides"].startswith("training.iterations: 40000 -> 3; model.weights:")
    (table,) = terminal_tables(made, RESULTS)
    title = str(table.title)
    assert title.startswith(GRID.title) and "-> 3" in title and "reasons." in title
    assert "\x1b" not in title
    plain, noted = chart(GRID, RESULTS), chart(made, RESULTS)
    assert plain is not None and noted is not None
    assert Image.open(io.BytesIO(noted)).height > Image.open(io.BytesIO(plain)).height


def test_rows_of_different_precisions_are_told(tmp_path: Path) -> None:
    own = [
        replace(one, precisions=found)
        for one, found in zip(RESULTS, (("bf16", "fp32"), ("fp32",), (), ("fp32",)), strict=True)
    ]
    console = Console(width=300, file=io.StringIO())
    write_report(tmp_path, GRID, own)
    for table in terminal_tables(GRID, own):
        console.print(table)
    for text in (console.file.getvalue(), (tmp_path / "table.md").read_text().replace("\\", "")):
        assert "bf16 and fp32: one; fp32: =two|, four" in " ".join(text.split())
    rows = json.loads((tmp_path / "table.json").read_text())["rows"]
    assert [row["precisions"] for row in rows] == [["bf16", "fp32"], ["fp32"], [], ["fp32"]]
    alike = [replace(one, precisions=("bf16",)) for one in RESULTS]
    assert precision_note(alike) == "trained in bf16"
    assert precision_note(RESULTS) == ""


def test_a_chart_has_a_panel_for_each_metric() -> None:
    pictures = [
        chart(AMOUNTS, AMOUNT_RESULTS),
        chart(GRID, RESULTS),
        chart(AMOUNTS, AMOUNT_RESULTS[:2]),
    ]
    two, one = (Image.open(io.BytesIO(picture)) for picture in pictures[:2] if picture)
    assert two.width > 1.3 * one.width
    assert pictures[2] is None, "nothing was measured"
