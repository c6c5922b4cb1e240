"""Distillation as a user starts it: from a run to a smaller network."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from tests.end_to_end.processes import (
    RUN,
    Launcher,
    assert_same_run,
    flip_bit,
    refuses,
    refuses_each,
)

STUDENT = ("--student", "test_efficientnet", "--weights", "none", "--model.batch_norm", "train")


def arguments(teacher: Path, name: str, *more: object) -> tuple[object, ...]:
    return (
        *("--teacher", teacher, "--output", "out", "--name", name, "--iterations", 4),
        *("--validation.every", 0, "--checkpoints.every", 2, "--workers", 0),
        *("--precision", "fp32", "--training.log_every", 1, *more),
    )


def miou_of_teacher(launch: Launcher, teacher: Path, *more: object) -> float:
    launch.ok("evaluate", teacher, "--network", "teacher", "--json", "t.json", *more)
    return json.loads(Path("t.json").read_text())["scores"]["teacher"]["miou"]


def test_a_run_becomes_a_smaller_network_also_after_a_kill(
    launch: Launcher, reference: Path, tmp_path: Path
) -> None:
    teacher = tmp_path / "teacher"
    shutil.copytree(reference, teacher)
    done = launch.ok("distill", *arguments(teacher, "small"))
    run = tmp_path / "out/small"
    # The data and their labeled part are those of the teacher.
    for name in ("labeled.txt", "unlabeled.txt"):
        assert (run / name).read_text() == (teacher / name).read_text()
    assert "9 unlabeled images" in done.out
    kept = json.loads((run / "teacher/state.json").read_text())
    assert Path(kept["from"]).parents[1] == teacher
    large, small = json.loads((run / "distillation.json").read_text())["networks"]
    assert large["title"] == "deeplabv2-test_resnet"
    assert small["title"] == "deeplabv2-test_efficientnet"
    assert small["parameters"] < large["parameters"] / 3 and small["flops"] < large["flops"]
    assert small["milliseconds"] > 0
    # The teacher is judged as its own evaluation judges it.
    assert large["miou"] == pytest.approx(miou_of_teacher(launch, teacher), abs=1e-4)
    with Image.open(run / "comparison.png") as picture:
        assert picture.width > 5 * 120
    launch.ok("evaluate", run)

    # A run that was killed goes on without the run that it learns from.
    cut = tmp_path / "out/cut"
    launch.start("distill", *arguments(teacher, "cut")).killed_after(cut, 2)
    shutil.rmtree(teacher)
    resume = ("--resume", "out/cut")
    refuses("distill", *resume, "--teacher", reference, words=["distillation.teacher: "])
    refuses("distill", *resume, "--student", "enet", words=["--student"])
    done = launch.ok("distill", *arguments(teacher, "cut"), "--resume", "auto")
    assert "average" in done.out
    assert_same_run(run, cut, settings=False)
    networks = json.loads((cut / "distillation.json").read_text())["networks"]
    assert [line["miou"] for line in networks] == [large["miou"], small["miou"]]


@pytest.mark.slow
def test_a_whole_network_learns_on_labels_alone(
    launch: Launcher, reference: Path, tmp_path: Path
) -> None:
    more = ("--student", "enet", "--distillation.unlabeled", 0, "--distillation.pairwise", 0.5)
    more += ("--regularizer", "adversarial-temperature", "--distillation.holistic", "true")
    done = launch.ok("distill", *arguments(reference, "run", *more, "--iterations", 1))
    assert "model enet, " in done.out and "unlabeled images" not in done.out
    line = (tmp_path / "out/run/metrics.jsonl").read_text().splitlines()[0]
    for name in ("pairwise", "loss/adversarial", "discriminator", "loss/distillation"):
        assert name in line


def test_a_file_may_name_the_teacher_as_ablations_do(
    launch: Launcher, reference: Path, config: Path, tmp_path: Path
) -> None:
    content = {"method": "distillation", "distillation": {"teacher": str(reference)}}
    (tmp_path / "teacher.yaml").write_text(yaml.safe_dump(content))
    command = ("distill", "--config", config, "teacher.yaml", *RUN, *STUDENT, "--iterations", 1)
    for _ in range(2):
        launch.ok(*command, "--workers", 0, "--resume", "auto")


def test_a_damaged_checkpoint_of_the_teacher_is_passed_over_aloud(
    launch: Launcher, reference: Path, tmp_path: Path
) -> None:
    teacher = Path(shutil.copytree(reference, tmp_path / "teacher"))
    flip_bit(teacher / "checkpoints/step-00000008/teacher.safetensors")
    text = "distillation: {unlabeled: 0}\ntraining: {iterations: 1}\n"
    (tmp_path / "short.yaml").write_text(text)
    given = ("--teacher", teacher, "--config", "short.yaml", *RUN, "--workers", 0, *STUDENT)
    done = launch.ok("distill", *given)
    assert "passed over: " in done.out and "step-00000008" in done.out
    assert f"teacher {teacher}: deeplabv2-test_resnet, " in done.out
    # A file that says nothing of the data leaves them to the teacher.
    run = tmp_path / "out/run"
    assert (run / "labeled.txt").read_text() == (teacher / "labeled.txt").read_text()


def test_teacher_and_student_are_judged_at_the_same_size(
    launch: Launcher, reference: Path, tmp_path: Path
) -> None:
    at_input = ("--validation.resolution", "input", "--data.resize", "[32, 64]")
    launch.ok("distill", *arguments(reference, "run", *at_input, "--iterations", 1))
    alone = miou_of_teacher(launch, reference, "--resize", "32x64", "--resolution", "32x64")
    report = json.loads((tmp_path / "out/run/distillation.json").read_text())
    assert report["networks"][0]["miou"] == pytest.approx(alone, abs=1e-4)


def test_the_teacher_may_be_one_of_two_domains_and_the_run_have_stages(
    launch: Launcher, config: Path, tmp_path: Path
) -> None:
    small = ("--iterations", 1, "--data.crop", "[48, 64]", "--validation.every", 0)
    launch.ok("train_uda", "--config", config, "--source", "gta5", *RUN, *small)
    teacher = tmp_path / "out/run"
    part = arguments(teacher, "part", "--labeled", "1/2")
    refuses("distill", *part, words=["source_domain.labeled=1/8"])
    stages = "[{epochs: 1, crop: [32, 64], batch: 12}, {epochs: 1, crop: [48, 64], batch: 6}]"
    own = ("--teacher", teacher, "--output", "out", "--name", "small", "--stages", stages)
    done = launch.ok("distill", *own, "--workers", 0, "--validation.every", 0)
    assert "12 labeled images" in done.out and "12 unlabeled images" in done.out
    assert "stage 2: steps 1 to 3, crops of 48x64, 6 labeled images" in done.out


def test_refused(reference: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    torch.save({"fc.weight": torch.zeros(2)}, tmp_path / "weights.pth")
    usage = {
        "": "--teacher",
        "--teacher {run} --student fcn8s": "backbone",
        "--teacher {run} --student resnet1000": "'resnet1000'",
        "--teacher {run} --dataset camvid": "demo",
        "--teacher {run} --distillation.alpha 2": "distillation.alpha",
    }
    refuses_each("distill", usage, "--output", "out", run=reference)
    others = {
        "--teacher nothing": "nothing",
        "--teacher empty": "empty",
        "--teacher weights.pth": "fcn_resnet101",
        "--teacher {run} --labeled full": "unlabeled",
    }
    refuses_each("distill", others, "--output", "out", code=1, run=reference)
