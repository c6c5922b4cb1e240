"""Distillation as a user starts it: from a run to a smaller network."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from tests.end_to_end.processes import Launcher, assert_same_run, flip_bit, refused_saying

SHORT = (
    *("--iterations", 4, "--validation.every", 0, "--checkpoints.every", 2, "--workers", 0),
    *("--precision", "fp32", "--training.log_every", 1),
)


def arguments(teacher: Path, name: str, *more: object) -> tuple[object, ...]:
    return ("--teacher", teacher, "--output", "out", "--name", name, *SHORT, *more)


def test_a_run_becomes_a_smaller_network(launch: Launcher, reference: Path, tmp_path: Path) -> None:
    teacher = reference
    done = launch.ok("distill", *arguments(teacher, "small"))
    run = tmp_path / "out" / "small"
    # The data and their labeled part are those of the teacher.
    for name in ("labeled.txt", "unlabeled.txt"):
        assert (run / name).read_text() == (teacher / name).read_text()
    assert "9 unlabeled images" in done.out
    kept = json.loads((run / "teacher" / "state.json").read_text())
    assert Path(kept["from"]).parents[1] == teacher
    report = json.loads((run / "distillation.json").read_text())
    large, small = report["networks"]
    assert large["title"] == "deeplabv2-test_resnet"
    assert small["title"] == "deeplabv2-test_efficientnet"
    assert small["parameters"] < large["parameters"] / 3
    assert small["flops"] < large["flops"]
    assert small["milliseconds"] > 0
    # The teacher is judged as its own evaluation judges it.
    launch.ok("evaluate", teacher, "--network", "teacher", "--json", "t.json")
    alone = json.loads((tmp_path / "t.json").read_text())["scores"]["teacher"]["miou"]
    assert large["miou"] == pytest.approx(alone, abs=1e-4)
    with Image.open(run / "comparison.png") as picture:
        assert picture.width > 5 * 120
    launch.ok("evaluate", run)


def test_a_whole_network_learns_on_labels_alone(
    launch: Launcher, reference: Path, tmp_path: Path
) -> None:
    more = ("--student", "enet", "--distillation.unlabeled", 0, "--distillation.pairwise", 0.5)
    more += ("--regularizer", "adversarial-temperature", "--distillation.holistic", "true")
    given = arguments(reference, "run", *more, "--iterations", 1)
    done = launch.ok("distill", *given)
    assert "model enet, " in done.out
    assert "unlabeled images" not in done.out
    line = (tmp_path / "out" / "run" / "metrics.jsonl").read_text().splitlines()[0]
    for name in ("pairwise", "loss/adversarial", "discriminator", "loss/distillation"):
        assert name in line


def test_a_killed_run_goes_on_without_the_run_that_it_learns_from(
    launch: Launcher, reference: Path, tmp_path: Path
) -> None:
    teacher = tmp_path / "teacher"
    shutil.copytree(reference, teacher)
    launch.ok("distill", *arguments(teacher, "whole"))
    cut = tmp_path / "out" / "cut"
    launch.start("distill", *arguments(teacher, "cut")).killed_after(cut, 2)
    shutil.rmtree(teacher)

    other = ("--resume", "out/cut", "--teacher", reference)
    refused_saying("distill", *other, words=["distillation.teacher: "])
    again = ("--resume", "out/cut", "--student", "enet")
    refused_saying("distill", *again, words=["leave --student out"])
    done = launch.ok("distill", *arguments(teacher, "cut"), "--resume", "auto")
    assert "average" in done.out
    assert_same_run(tmp_path / "out" / "whole", cut, settings=False)
    one, two = (
        json.loads((tmp_path / "out" / name / "distillation.json").read_text())["networks"]
        for name in ("whole", "cut")
    )
    assert [line["miou"] for line in one] == [line["miou"] for line in two]


def test_a_file_may_name_the_teacher_as_ablations_do(
    launch: Launcher, reference: Path, config: Path, tmp_path: Path
) -> None:
    content = {"method": "distillation", "distillation": {"teacher": str(reference)}}
    (tmp_path / "teacher.yaml").write_text(yaml.safe_dump(content))
    command = ("distill", "--config", config, "teacher.yaml", "--output", "out", "--name", "run")
    network = ("--student", "test_efficientnet", "--weights", "none", "--iterations", 2)
    more = (*network, "--model.batch_norm", "train", "--workers", 0, "--resume", "auto")
    for _ in range(2):
        launch.ok(*command, *more)


def test_a_damaged_checkpoint_of_the_teacher_is_passed_over_aloud(
    launch: Launcher, reference: Path, tmp_path: Path
) -> None:
    teacher = tmp_path / "teacher"
    shutil.copytree(reference, teacher)
    newest = teacher / "checkpoints" / "step-00000008"
    flip_bit(newest / "teacher.safetensors")
    (tmp_path / "short.yaml").write_text(
        "distillation: {unlabeled: 0}\ntraining: {iterations: 2}\n"
    )
    network = ("--student", "test_efficientnet", "--weights", "none", "--model.batch_norm", "train")
    done = launch.ok(
        *("distill", "--teacher", teacher, "--config", "short.yaml", "--output", "out"),
        *("--name", "run", "--workers", 0, *network),
    )
    assert "passed over: " in done.out and "step-00000008" in done.out
    assert f"teacher {teacher}: deeplabv2-test_resnet, " in done.out
    # A file that says nothing of the data leaves them to the teacher.
    run = tmp_path / "out" / "run"
    assert (run / "labeled.txt").read_text() == (teacher / "labeled.txt").read_text()


def test_teacher_and_student_are_judged_at_the_same_size(
    launch: Launcher, reference: Path, tmp_path: Path
) -> None:
    at_input = ("--validation.resolution", "input", "--data.resize", "[32, 64]")
    launch.ok("distill", *arguments(reference, "run", *at_input, "--iterations", 1))
    launch.ok(
        *("evaluate", reference, "--network", "teacher", "--json", "t.json"),
        *("--resize", "32x64", "--resolution", "32x64"),
    )
    alone = json.loads((tmp_path / "t.json").read_text())["scores"]["teacher"]["miou"]
    report = json.loads((tmp_path / "out" / "run" / "distillation.json").read_text())
    assert report["networks"][0]["miou"] == pytest.approx(alone, abs=1e-4)


def test_the_teacher_may_be_one_of_two_domains_and_the_run_have_stages(
    launch: Launcher, config: Path, tmp_path: Path
) -> None:
    launch.ok(
        *("train_uda", "--config", config, "--source", "gta5", "--output", "out"),
        *("--name", "adapted", "--iterations", 2, "--data.crop", "[48, 64]"),
    )
    teacher = tmp_path / "out" / "adapted"
    part = arguments(teacher, "part", "--labeled", "1/2")
    refused_saying("distill", *part, words=["source_domain.labeled=1/8"])
    stages = "[{epochs: 1, crop: [32, 64], batch: 4}, {epochs: 1, crop: [48, 64], batch: 2}]"
    done = launch.ok(
        *("distill", "--teacher", teacher, "--output", "out", "--name", "small"),
        *("--stages", stages, "--workers", 0, "--validation.every", 0),
    )
    assert "12 labeled images" in done.out and "12 unlabeled images" in done.out
    assert "stage 2: steps 3 to 9, crops of 48x64, 2 labeled images" in done.out


REFUSED: dict[str, tuple[int, str]] = {
    "": (2, "--teacher"),
    "--teacher nothing": (1, "nothing"),
    "--teacher empty": (1, "empty"),
    "--teacher weights.pth": (1, "fcn_resnet101"),
    "--teacher RUN --student fcn8s": (2, "backbone"),
    "--teacher RUN --student resnet1000": (2, "'resnet1000'"),
    "--teacher RUN --dataset camvid": (2, "demo"),
    "--teacher RUN --distillation.alpha 2": (2, "distillation.alpha"),
    "--teacher RUN --labeled full": (1, "unlabeled"),
}


@pytest.mark.parametrize("arguments", REFUSED)
def test_refused(arguments: str, reference: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    torch.save({"fc.weight": torch.zeros(2)}, tmp_path / "weights.pth")
    code, word = REFUSED[arguments]
    given = arguments.replace("RUN", str(reference)).split()
    refused_saying("distill", *given, "--output", "out", words=[word], code=code)
    assert not (tmp_path / "out").exists()
