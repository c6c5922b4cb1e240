"""``tools/benchmark.py`` as a person runs it; what is faster is not asked here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.end_to_end.processes import Launcher, refused

ROWS = {
    "step": 1,
    "mixers": 4,
    "augment": 3,
    "ema": 1,
    "loader": 4,
    "evaluate": 2,
}


def test_all_parts_that_compare(launch: Launcher, config: Path, tmp_path: Path) -> None:
    options = ("--rounds", 2, "--files", "64x128", "--json", "speed.json", "--device", "cpu")
    done = launch("benchmark", "--config", config, *options, cwd=tmp_path)
    assert done.code == 0, done.text
    content = json.loads((tmp_path / "speed.json").read_text())
    assert (content["size"], content["rounds"], content["files"]) == ([64, 128], 2, [64, 128])
    for part, count in ROWS.items():
        rows = content[part]["comparisons"]
        assert len(rows) == count
        for row in rows:
            assert row["name"] in done.out
            assert len(row["seconds"]) == len(row["transcription_seconds"]) == 2
            assert all(seconds > 0 for seconds in row["seconds"] + row["transcription_seconds"])
            low, high = row["ratio_quartiles"]
            assert low <= row["ratio"] <= high
    step = content["step"]
    assert step["flops"] > 1e6 and step["share_of_peak"] > 0
    for parts in (step["seconds_of_parts"], step["transcription_seconds_of_parts"]):
        assert all(name in done.out for name in parts)
        unused = {name for name, seconds in parts.items() if seconds == 0}
        assert not unused
    assert [path.name for path in tmp_path.iterdir()] == ["speed.json"]


@pytest.mark.slow
def test_memory(launch: Launcher, config: Path, tmp_path: Path) -> None:
    options = ("--json", "memory.json", "--device", "cpu", "--demo.size", "[256,512]")
    process = launch.start("benchmark", "memory", "--config", config, *options, cwd=tmp_path)
    done = process.wait(600)
    assert done.code == 0, done.text
    peaks = json.loads((tmp_path / "memory.json").read_text())["memory"]["peaks"]
    assert {tuple(found) for found in peaks.values()} == {("128x256", "192x352", "256x512")}
    for found in peaks.values():
        assert found["128x256"] < found["256x512"]
    # Small networks promise no order of the others: what is computed again is in use as well.
    assert {"as set", "activation checkpointing", "joint forward"} <= peaks.keys()
    assert peaks["as set"]["256x512"] < peaks["joint forward"]["256x512"]


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        (("mixer",), ["unknown part", "mixers"]),
        (("ema", "--rounds", 0), ["--rounds: expected"]),
        (("loader", "--files", "8x8"), ["--files", "16"]),
        (("ema", "--json", "nowhere/speed.json"), ["nowhere"]),
        (("step", "--mixer", "none"), ["mixing.mixer", "thesis"]),
        (("ema", "--dataset", "folder", "--set", "data.root=x"), ["folder"]),
    ],
)
def test_refused(
    arguments: tuple[object, ...],
    fragments: list[str],
    launch: Launcher,
    config: Path,
    tmp_path: Path,
) -> None:
    refused(launch("benchmark", *arguments, "--config", config, cwd=tmp_path), *fragments)
