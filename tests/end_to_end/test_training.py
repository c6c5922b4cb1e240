"""A run from the command to the files it leaves."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from mixseg.config.resolve import resolve_settings
from mixseg.data.cityscapes import CITYSCAPES
from tests.end_to_end.processes import Launcher, assert_same_run, metrics, state, tree


def test_the_output_ends_with_all_classes_of_both_networks(reference: Path) -> None:
    said = (reference.parents[1] / "said").read_text()
    table = said[said.index("last step") :]
    for name in (*CITYSCAPES.names, "student", "teacher", "mIoU", "pixel accuracy"):
        assert name in table
    last = json.loads((reference / "summary.json").read_text())["last"]
    for name in ("student", "teacher"):
        assert f"{100 * last[name]['miou']:.2f}" in table
    for counted in ("3 labeled", "9 unlabeled", "3 validation"):
        assert f": {counted} images" in said
    assert "tools/evaluate.py out/run" in said
    assert f"split {json.loads((reference / 'split.json').read_text())['digest']}" in said


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
    files = set(tree(reference))
    names = "config.yaml environment.json labeled.txt unlabeled.txt split.json metrics.jsonl"
    assert {*names.split(), "summary.json"} <= files
    checkpoints = {path.name for path in (reference / "checkpoints").iterdir() if path.is_dir()}
    assert checkpoints == {"step-00000006", "step-00000008", "best-student", "best-teacher"}
    for path in ("step-00000008/student", "step-00000008/teacher", "best-teacher/teacher"):
        assert f"checkpoints/{path}.safetensors" in files
    assert not [name for name in files if ".partial" in name]
    # Others may read results: nothing is more private than an ordinary new file.
    modes = {path.stat().st_mode & 0o777 for path in reference.rglob("*") if path.is_file()}
    assert modes == {(reference / "labeled.txt").stat().st_mode & 0o777}

    (entry,) = json.loads((reference / "environment.json").read_text())
    assert {"python", "platform", "packages", "threads", "command", "gpus"} <= entry.keys()
    assert entry["packages"]["torch"]
    labeled, unlabeled = (
        (reference / f"{name}.txt").read_text().splitlines() for name in ("labeled", "unlabeled")
    )
    split = json.loads((reference / "split.json").read_text())
    assert (len(labeled), len(unlabeled)) == (3, 9) == (split["labeled"], split["unlabeled"])
    assert not set(labeled) & set(unlabeled)


def test_the_saved_settings_resolve_to_themselves(
    reference: Path, config: Path, launch: Launcher, tmp_path: Path
) -> None:
    saved = resolve_settings([reference / "config.yaml"], {})
    assert saved == resolve_settings([config], {"output": "out", "name": "run"})
    # ... and give the same run when they are given as --config.
    launch.ok("train_ssl", "--config", reference / "config.yaml")
    assert_same_run(reference, tmp_path / "out/run")


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
    best = json.loads((reference / "summary.json").read_text())["best"]
    for name in ("student", "teacher"):
        lines = [line for line in metrics(reference) if f"miou/{name}" in line]
        first = max(lines, key=lambda line: line[f"miou/{name}"])
        miou, step = first[f"miou/{name}"], first["step"]
        assert (best[name]["step"], best[name]["miou"]) == (step, miou)
        saved = state(reference / "checkpoints" / f"best-{name}")
        assert (saved["step"], saved["scores"][name]["miou"]) == (step, miou)


def test_a_name_and_a_log_of_the_momentum(launch: Launcher, config: Path, tmp_path: Path) -> None:
    moving = ("--schedule.name", "one-cycle", "--schedule.momentum", "[0.8, 0.9]")
    flags = ("--config", config, "--output", "out", "--mixer", "cutmix", "--iterations", 4)
    launch.ok("train_ssl", *flags, *moving, "--validation.every", 0)
    (run,) = (tmp_path / "out").iterdir()
    assert run.name.startswith("ssl-demo-cutmix-1of4-seed0-")
    assert resolve_settings([run / "config.yaml"], {}).name == run.name
    lines = [line for line in metrics(run) if "lr" in line]
    fastest = max(lines, key=lambda line: line["lr"])
    momenta = [line["momentum"] for line in lines]
    assert 0.8 <= fastest["momentum"] == min(momenta) < max(momenta) <= 0.9
