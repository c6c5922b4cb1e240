"""Tables of runs whose folders are written here, and of a run as it is trained."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from mixseg.analysis.runs import Comparison, read_run, runs_of
from mixseg.config.resolve import resolve_settings
from mixseg.config.saved import dump_settings
from mixseg.errors import DataError
from mixseg.models import ModelSpec, build_model
from mixseg.terminal import new_console, show
from mixseg.training.checkpoint import write_checkpoint


def write_run(path: Path, log: list[dict[str, Any]], **changes: Any) -> Path:
    given = {key.replace("__", "."): value for key, value in changes.items()}
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(dump_settings(resolve_settings([], given)))
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
    return path


LOG = [
    {"step": 10, "loss/supervised": 2.0, "seconds": 0.5},
    {"step": 10, "miou/student": 0.25, "miou/teacher": 0.125},
    {"step": 20, "loss/supervised": 1.0, "seconds": 0.7},
    {"step": 20, "miou/student": 0.20, "miou/teacher": 0.375},
    {"step": 25, "loss/supervised": 1.0, "seconds": 0.6},
]


def finish(path: Path, last: dict[str, Any], best: dict[str, Any]) -> None:
    summary = {"step": 30, "last": last, "best": best}
    summary |= {"seconds_per_step": 0.65, "precision": "bf16"}
    (path / "summary.json").write_text(json.dumps(summary))


def test_what_differs_and_what_came_out(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", LOG, training__iterations=30)
    best = {"student": {"miou": 0.25, "step": 10}, "teacher": {"miou": 0.4, "step": 30}}
    finish(one, {"student": {"miou": 0.21}, "teacher": {"miou": 0.4}}, best)
    changed = {"mixing__mixer": "cutmix", "data__crop": [64, 96]}
    two = write_run(tmp_path / "two", LOG, training__iterations=30, **changed)
    with (two / "metrics.jsonl").open("a") as file:
        file.write('{"step": 30, "miou/stud')  # a process writes, or was killed, just here
    (two / "precision.json").write_text('{"precision": "fp32", "seconds": {}}')
    comparison = Comparison.of([read_run(one), read_run(two)])
    assert set(comparison.differing) == {"mixing.mixer", "data.crop"}
    first, second = json.loads(comparison.to_json())
    assert first["finished"] and not second["finished"]
    assert (first["step"], second["step"], second["steps"]) == (30, 25, 30)
    assert first["last"]["student"] == {"step": 30, "miou": pytest.approx(21)}
    assert first["best"]["student"] == {"step": 10, "miou": pytest.approx(25)}
    assert second["last"]["teacher"] == {"step": 20, "miou": pytest.approx(37.5)}
    assert second["best"]["student"] == {"step": 10, "miou": pytest.approx(25)}
    assert (first["seconds_per_step"], second["seconds_per_step"]) == (0.65, 0.6)
    assert second["settings"] == {"mixing.mixer": "cutmix", "data.crop": [64, 96]}
    # What "auto" has become differs, though the setting does not.
    assert (first["precision"], second["precision"]) == ("bf16", "fp32")
    text = comparison.to_markdown()
    rows = {line.split(" | ")[0]: line for line in text.splitlines()}
    assert "unfinished, step 25 of 30" in rows["| state"]
    assert rows["| student mIoU, last"] == "| student mIoU, last | 21.00 | 20.00 at 20 |"
    assert rows["| precision"] == "| precision | bf16 | fp32 |"
    assert rows["| data.crop"].endswith(r"\[64, 96\] |")
    lines = list(csv.DictReader(io.StringIO(comparison.to_csv())))
    assert [line["mixing.mixer"] for line in lines] == ["classmix", "cutmix"]
    assert [line["precision"] for line in lines] == ["bf16", "fp32"]
    assert [float(line["teacher_best_miou"]) for line in lines] == [40, 37.5]
    assert [line["teacher_best_step"] for line in lines] == ["30", "20"]
    assert lines[1]["parameters"] == ""


def test_means_over_fewer_classes(tmp_path: Path) -> None:
    line = {"step": 30, "miou/student": 1.0, "miou_classes/student": 1, "miou/teacher": 0.5}
    open_run = write_run(tmp_path / "open", [line])
    ended = write_run(tmp_path / "ended", [line])
    half = {"miou": 1.0, "iou": [1.0, None]}
    finish(ended, {"student": half, "teacher": {"miou": 0.5}}, {"student": half | {"step": 30}})
    comparison = Comparison.of([read_run(open_run), read_run(ended)])
    rows = {line.split(" | ")[0]: line for line in comparison.to_markdown().splitlines()}
    assert rows["| student mIoU, last"].endswith(
        "| 100.00 at 30 (1 classes alone) | 100.00 (1 of 2 classes) |"
    )
    assert rows["| teacher mIoU, last"].endswith("| 50.00 at 30 | 50.00 |")
    first, second = json.loads(comparison.to_json())
    assert "covered" in first["last"]["student"] and "covered" not in first["last"]["teacher"]
    assert second["best"]["student"]["covered"] == "1 of 2 classes"


def test_what_there_is_more_of_goes_down(tmp_path: Path) -> None:
    many = [read_run(write_run(tmp_path / f"run-{n}", LOG, seed=n)) for n in range(12)]
    heading, _, *rows = Comparison.of(many).to_markdown().splitlines()
    assert "| seed |" in heading and len(rows) == 12
    assert [row.split(" | ")[0] for row in rows] == [f"| run-{seed}" for seed in range(12)]
    heading, _, *rows = Comparison.of(many[:2]).to_markdown().splitlines()
    assert heading == "|  | run-0 | run-1 |" and rows[0] == "| seed | 0 | 1 |"


def test_runs_without_a_validation_or_without_a_step(tmp_path: Path) -> None:
    early = write_run(tmp_path / "early", LOG[:1])
    new = write_run(tmp_path / "new", [], training__precision="bf16")
    (new / "metrics.jsonl").unlink()
    first, second = json.loads(Comparison.of([read_run(early), read_run(new)]).to_json())
    assert (first["step"], first["last"], first["best"]) == (10, {}, {})
    assert (second["step"], second["last"], second["seconds_per_step"]) == (0, {}, None)
    assert (first["precision"], second["precision"]) == (None, "bf16")


def test_nothing_in_a_name_acts(tmp_path: Path) -> None:
    name = "=cmd()|<b>\x1b[31m"
    runs = [
        read_run(write_run(tmp_path / folder / name, LOG, seed=seed))
        for seed, folder in enumerate("ab")
    ]
    comparison = Comparison.of(runs)
    # Of two runs with one name, the paths tell which is which.
    assert comparison.titles == (str(tmp_path / "a" / name), str(tmp_path / "b" / name))
    console = new_console()
    console.width = 300
    with console.capture() as capture:
        show(console, comparison.terminal_table())
    assert name.replace("\x1b", r"\x1b") in capture.get() and "\x1b" not in capture.get()
    assert "[31m" in comparison.to_markdown().replace("\\", "")
    text = comparison.to_markdown()
    assert "\x1b" not in text and "<b>" not in text
    assert {line.replace("\\|", "").count("|") for line in text.splitlines()} == {4}
    alone = Comparison.of([read_run(runs[0].path)])
    assert alone.titles == (name,) and alone.differing == ()
    assert "\x1b" not in comparison.to_csv()


def test_parameters_are_counted_from_the_checkpoint(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run", LOG)
    spec = {"architecture": "deeplabv2", "backbone": "test_resnet", "num_classes": 3}
    spec |= {"output_stride": 16, "rates": [1, 2], "align_corners": True}
    spec |= {"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]}
    (path / "checkpoints").mkdir()
    assert read_run(path).parameters is None
    write_checkpoint(path / "checkpoints" / "step-00000010", {}, {"model": spec})
    three = read_run(path).parameters
    write_checkpoint(
        path / "checkpoints" / "step-00000020", {}, {"model": spec | {"num_classes": 4}}
    )
    four = read_run(path).parameters
    one = build_model(ModelSpec.from_json(spec))
    assert three == sum(weight.numel() for weight in one.parameters())
    assert four is not None and four > three
    (path / "checkpoints" / "step-00000020" / "state.json").write_text("{}")
    assert read_run(path).parameters == three


def test_folders_that_are_no_runs(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    for name in ("empty", "file", "gone"):
        with pytest.raises(DataError, match=f"{name} "):
            read_run(tmp_path / name)
    path = write_run(tmp_path / "ablation" / "run", LOG)
    assert runs_of(tmp_path / "ablation") == [path] == runs_of(path)
    (path / "summary.json").write_text('{"step": 30}')
    with pytest.raises(DataError, match=r"summary.json: .*--resume"):
        read_run(path)
    (path / "config.yaml").write_text(yaml.safe_dump({"mixing": {"mixr": "cutmix"}}))
    with pytest.raises(DataError, match=r"run: .*mixr"):
        read_run(path)
