"""A run from the command to the files it leaves."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from mixseg.config.resolve import resolve_settings
from mixseg.data.cityscapes import CITYSCAPES
from tests.end_to_end.processes import Launcher, Running, assert_same_run, metrics, state, tree

Train = Callable[..., Running]


def test_the_output_ends_with_all_classes_of_both_networks(reference: Path) -> None:
    run, text = reference
    table = text[text.index("last step") :]
    for name in (*CITYSCAPES.names, "student", "teacher", "mIoU", "pixel accuracy"):
        assert name in table
    summary = json.loads((run / "summary.json").read_text())
    for name in ("student", "teacher"):
        assert f"{100 * summary['last'][name]['miou']:.2f}" in table
    for counted in ("3 labeled", "9 unlabeled", "3 validation"):
        assert f": {counted} images" in text
    assert "tools/evaluate.py out/run" in text


@pytest.mark.slow
def test_commands_to_try_next_work_on_the_same_data(launch: Launcher, config: Path) -> None:
    sizes = ("--images", 12, "--val-images", 3, "--size", "64x128")
    launch.ok("make_demo", "--out", "data", *sizes)
    data = ("--dataset", "cityscapes", "--data-root", "data")
    run = ("--config", config, "--iterations", 1, "--output", "out", "--name", "mine")
    done = launch.ok("train_ssl", *run, *data)
    suggested = [line.split("tools/")[1] for line in done.out.splitlines() if "tools/" in line]
    further = [shlex.split(line) for line in suggested if "IMAGE" not in line]
    assert [command[0] for command in further] == ["evaluate.py", "train_ssl.py", "compare.py"]
    for tool, *arguments in further:
        followed = launch.ok(tool.removesuffix(".py"), *arguments)
    assert "classmix" in followed.out and "cutmix" in followed.out

    full = (*run[:-1], "full", "--labeled", "full")
    done = launch.ok("train_supervised", *full, *data)
    assert "-mixed --unlabeled PHOTOS" in done.out, "there are no images left without labels"


def test_the_run_folder_is_complete(reference: Path) -> None:
    run = reference
    files = set(tree(run))
    assert {
        "config.yaml",
        "environment.json",
        "labeled.txt",
        "unlabeled.txt",
        "split.json",
        "metrics.jsonl",
        "summary.json",
        "checkpoints/step-00000006",
        "checkpoints/step-00000008",
        "checkpoints/best-student",
        "checkpoints/best-teacher",
    } <= files
    assert "checkpoints/step-00000004" not in files
    for path in ("step-00000008/student", "step-00000008/teacher", "best-teacher/teacher"):
        assert f"checkpoints/{path}.safetensors" in files
    assert not [name for name in files if ".partial" in name]
    # Others may read results: nothing is more private than an ordinary new file.
    modes = {path.stat().st_mode & 0o777 for path in run.rglob("*") if path.is_file()}
    assert modes == {(run / "labeled.txt").stat().st_mode & 0o777}


def test_the_saved_settings_resolve_to_themselves(
    reference: Path, config: Path, launch: Launcher, tmp_path: Path
) -> None:
    run = reference
    saved = resolve_settings([run / "config.yaml"], {})
    typed = {"output": "out", "name": "run"}
    assert saved == resolve_settings([config], typed)
    assert yaml.safe_load((run / "config.yaml").read_text())["name"] == "run"
    # ... and give the same run when they are given as --config.
    launch.ok("train_ssl", "--config", run / "config.yaml")
    assert_same_run(run, tmp_path / "out" / "run")


def test_the_environment_and_the_split_are_recorded(reference: Path) -> None:
    run, text = reference
    (entry,) = json.loads((run / "environment.json").read_text())
    assert {"python", "platform", "packages", "threads", "command", "gpus"} <= entry.keys()
    assert entry["packages"]["torch"]
    labeled = (run / "labeled.txt").read_text().splitlines()
    unlabeled = (run / "unlabeled.txt").read_text().splitlines()
    split = json.loads((run / "split.json").read_text())
    assert (len(labeled), len(unlabeled)) == (3, 9) == (split["labeled"], split["unlabeled"])
    assert not set(labeled) & set(unlabeled)
    assert f"split {split['digest']}" in text


def test_metrics_are_json_lines(reference: Path) -> None:
    lines = metrics(reference, without_time=False)
    steps = [line for line in lines if "lr" in line]
    assert [line["step"] for line in steps] == [*range(1, 9)]
    for line in steps:
        assert {"loss/supervised", "loss/consistency", "gradient_norm", "seconds"} <= line.keys()
        assert 0 <= line["confident"] <= 1
    validations = [line for line in lines if "miou/teacher" in line]
    assert [line["step"] for line in validations] == [4, 8]


def test_the_best_checkpoint_is_that_of_the_best_validation(reference: Path) -> None:
    run = reference
    best = json.loads((run / "summary.json").read_text())["best"]
    for name in ("student", "teacher"):
        scores = [
            (line[f"miou/{name}"], line["step"]) for line in metrics(run) if f"miou/{name}" in line
        ]
        miou = max(score for score, _ in scores)
        first = min(step for score, step in scores if score == miou)
        assert (best[name]["step"], best[name]["miou"]) == (first, miou)
        saved = state(run / "checkpoints" / f"best-{name}")
        assert saved["step"] == first
        assert saved["scores"][name]["miou"] == miou


def test_a_name_and_a_log_of_the_momentum(launch: Launcher, config: Path, tmp_path: Path) -> None:
    moving = ("--set", "schedule.name=one-cycle", "schedule.momentum=[0.8, 0.9]")
    flags = ("--config", config, "--output", "out", "--mixer", "cutmix", "--iterations", 4)
    launch.ok("train_ssl", *flags, *moving, "validation.every=0")
    (run,) = (tmp_path / "out").iterdir()
    assert run.name.startswith("ssl-demo-cutmix-1of4-seed0-")
    assert resolve_settings([run / "config.yaml"], {}).name == run.name
    lines = [line for line in metrics(run) if "lr" in line]
    fastest = max(lines, key=lambda line: line["lr"])
    assert fastest["momentum"] == min(line["momentum"] for line in lines)
    assert 0.8 <= fastest["momentum"] < max(line["momentum"] for line in lines) <= 0.9
