"""``mixseg self-train`` as a person runs it, stops it and goes on."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from mixseg.data.layout import open_dataset
from tests.end_to_end.processes import (
    Launcher,
    assert_same_run,
    group_ok,
    metrics,
    refuses,
    refuses_each,
)

SHORT = ("--iterations", 4, "--checkpoints.every", 1, "--validation.every", 0)


def command(config: Path, name: str, *more: object) -> tuple[object, ...]:
    return ("--config", config, "--output", "out", "--name", name, *SHORT, *more)


def rounds(folder: Path) -> list[dict[str, str]]:
    with (folder / "rounds.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_round_after_a_finished_run(launch: Launcher, reference: Path, tmp_path: Path) -> None:
    flags = ("--output", "out", "--rounds", 1, "--share", 0.5, "--mixing.labeled", "classmix")
    launch.ok("self_train", reference, *flags, *SHORT)
    folder = tmp_path / "out/run-self-trained"
    run, pseudo = folder / "round-1", folder / "pseudo-1"

    # True labels, unlabeled images and validation images are those of the run.
    assert (run / "target.txt").read_text() == (reference / "labeled.txt").read_text()
    assert (run / "labeled.txt").read_text() == (reference / "unlabeled.txt").read_text()
    before, after = (json.loads((one / "data.json").read_text()) for one in (reference, run))
    assert before["val"] == after["val"] and before["classes"] == after["classes"]
    settings = yaml.safe_load((run / "config.yaml").read_text())
    assert settings["method"] == "supervised" and settings["mixing"]["labeled"] == "classmix"
    assert settings["model"]["weights"] == "none"

    # Labels are what `predict` says of the images by the better network, or nothing.
    last = json.loads((reference / "summary.json").read_text())["last"]
    better = max(last, key=lambda name: (last[name]["miou"], name))
    record = json.loads((pseudo / "pseudo_labels.json").read_text())
    assert record["network"] == better
    images = pseudo / "images/train"
    launch.ok("predict", reference, images, "--network", better, "--output", "seen")
    dataset = open_dataset("folder", pseudo, "train")
    truth = open_dataset("cityscapes", _root_of(reference), "train")
    places = {sample.id: index for index, sample in enumerate(truth.samples)}
    predicted, right = [], []
    for index, sample in enumerate(dataset.samples):
        ids = np.array(Image.open(tmp_path / "seen/ids" / f"{sample.id}.png"))
        label, true = dataset.label(index), truth.label(places[sample.id])
        assert ((label == ids) | (label == 255)).all()
        predicted.append(ids)
        right += (label == true)[(label != 255) & (true != 255)].tolist()
    counts = np.bincount(np.concatenate(predicted).ravel(), minlength=19)
    assert record["predicted"] == counts.tolist()
    for count, kept in zip(counts, record["counted"], strict=True):
        assert kept >= round(count / 2)
    assert record["accuracy"] == pytest.approx(np.mean(right))

    # The table.
    zero, one = rounds(folder)
    assert zero["student"] == f"{100 * last['student']['miou']:.2f}" and not zero["labeled by"]
    assert one["labeled by"] == better and float(one["right"]) == pytest.approx(
        100 * float(np.mean(right)), abs=0.01
    )
    shares = [float(value) for key, value in one.items() if key.startswith("share of ")]
    assert len(shares) == 19 and sum(shares) == pytest.approx(100, abs=0.1)
    assert "| road |" in (folder / "rounds.md").read_text()

    # It cannot be told from another one by its name alone.
    other = ("--output", "out", *SHORT, "--mixing.labeled", "classmix")
    refuses("self-train", reference, *other, words=["selection share", "0.5", "--name"])


def _root_of(run: Path) -> Path:
    """The folder of the demo scenes of a run."""
    line = next(one for one in (run.parents[1] / "said").read_text().splitlines() if "data " in one)
    return Path(line.removeprefix("data ").partition("/leftImg8bit")[0])


@pytest.mark.slow
def test_killed_and_gone_on_with_it_is_the_same(
    launch: Launcher, config: Path, tmp_path: Path
) -> None:
    straight, cut = tmp_path / "out/straight", tmp_path / "out/cut"
    launch.ok("self_train", *command(config, "straight", "--rounds", 2))
    for path, step in ((cut / "round-0", 2), (cut / "round-1", 3)):
        launch.start("self_train", *command(config, "cut", "--rounds", 1)).killed_after(path, step)
    (cut / ".pseudo-2.new").mkdir()  # as if killed once more while labels are written
    (cut / ".pseudo-2.new/half.png").touch()
    done = launch.ok("self_train", *command(config, "cut", "--rounds", 2))
    assert "round-0, from step" not in done.out and "round-1, from step 3" in done.out
    for number in range(3):
        assert_same_run(straight / f"round-{number}", cut / f"round-{number}", settings=False)
    for number in (1, 2):
        one, other = (
            json.loads((folder / f"pseudo-{number}/pseudo_labels.json").read_text())
            for folder in (straight, cut)
        )
        assert one["digest"] == other["digest"] and one["share"] == (0.2, 0.25)[number - 1]
    assert rounds(straight) == rounds(cut)

    # All is there: nothing is trained again.
    before = metrics(cut / "round-2", without_time=False)
    done = launch.ok("self_train", *command(config, "cut", "--rounds", 2))
    assert metrics(cut / "round-2", without_time=False) == before
    assert "step " not in done.out and "round-2 --flip" in done.out

    # Nor is it gone on with other settings, data or labels.
    given = command(config, "cut", "--rounds", 2)
    refuses("self-train", *given, "--lr", 0.5, words=["optimizer.lr"])
    refuses("self-train", *given, "--most-share", 0.9, words=["selection most"])
    shutil.rmtree(cut / "round-2")
    label = next((cut / "pseudo-2/labels/train").rglob("*.png"))
    Image.new("L", (128, 64), 3).save(label)
    refuses("self-train", *given, words=["pseudo-2", "changed"], code=1)


@pytest.mark.slow
def test_two_processes_label_as_one(launch: Launcher, reference: Path, tmp_path: Path) -> None:
    given = (reference, "--output", "out", "--rounds", 1, "--iterations", 1)
    launch.ok("self_train", *given, "--name", "alone")
    group_ok(launch, "self_train", *given, "--name", "two")
    one, other = (
        json.loads((tmp_path / "out" / name / "pseudo-1/pseudo_labels.json").read_text())
        for name in ("alone", "two")
    )
    assert one == other


@pytest.mark.slow
def test_two_domains(launch: Launcher, config: Path, tmp_path: Path) -> None:
    more = ("--source", "gta5", "--labeled-target", "1/4", "--rounds", 1, "--data.crop", "[48,64]")
    launch.ok("self_train", *command(config, "uda", "--method", "supervised", *more))
    folder = tmp_path / "out/uda"
    one, other = folder / "round-0", folder / "round-1"
    # The source is the same; the target has a label for each of its images, three of them true.
    assert (one / "labeled.txt").read_text() == (other / "labeled.txt").read_text()
    target = (other / "target.txt").read_text().split()
    true = {f"labeled/{line}" for line in (one / "target.txt").read_text().split()}
    assert len(target) == 12 and len(true) == 3 and true <= set(target)
    batch = json.loads((other / "summary.json").read_text())["effective_batch"]
    assert batch == {"labeled": 2, "target": 4}
    # Validation images are copied as they are judged.
    launch.ok("evaluate", one, "--json", "own.json")
    copied = ("--dataset", "folder", "--data-root", folder / "pseudo-1", "--split", "val")
    launch.ok("evaluate", one, *copied, "--json", "copied.json")
    own, found = (json.loads(Path(name).read_text()) for name in ("own.json", "copied.json"))
    for name, scores in own["scores"].items():
        assert found["scores"][name]["iou"] == scores["iou"]


@pytest.mark.slow
def test_rounds_by_the_method_of_the_run(
    launch: Launcher, reference: Path, config: Path, tmp_path: Path
) -> None:
    given = ("--output", "out", "--rounds", 1, "--own-method", "--iterations", 1)
    launch.ok("self_train", reference, "--name", "one", *given)
    more = ("--method", "domain_adaptation", "--source", "gta5", "--data.crop", "[48,64]")
    launch.ok("self_train", "--config", config, "--name", "two", *given, *more)
    for name, sizes in (("one", (9, 9, 3)), ("two", (12, 12, 12))):
        run = tmp_path / "out" / name / "round-1"
        lists = (run / f"{stream}.txt" for stream in ("labeled", "unlabeled", "target"))
        assert tuple(len(path.read_text().splitlines()) for path in lists) == sizes
        losses = {key for key in metrics(run)[0] if key.startswith("loss/")}
        assert losses == {"loss/supervised", "loss/supervised_target", "loss/consistency"}
    # The unlabeled images are the same.
    run = tmp_path / "out/one/round-1"
    assert (run / "unlabeled.txt").read_text() == (reference / "unlabeled.txt").read_text()
    alone = ("--config", config, "--name", "three", "--method", "supervised", *given)
    refuses("self-train", *alone, words=["--own-method", "supervised"])


def test_refused(config: Path, reference: Path, tmp_path: Path) -> None:
    (tmp_path / "out/taken").mkdir(parents=True)
    (tmp_path / "out/taken/mine.txt").touch()
    stage = {"epochs": 1, "crop": [32, 64], "batch": 2}
    (tmp_path / "staged.yaml").write_text(yaml.safe_dump({"stages": [stage]}))
    given = ("--config", config, "--output", "out")
    cases = {
        "--name a --rounds 0": "--rounds",
        "--name a --share 0.6": "--most-share",
        "--name taken": "taken --name",
        "--rounds 1": "--name",
        "--name a --source gta5 --labeled 1/8": "--labeled",
        "--name a --config staged.yaml": "stages --iterations",
    }
    refuses_each("self-train", cases, *given)
    refuses("self-train", *given, "--name", "a", "--labeled", "full", words=["unlabeled"], code=1)
    cases = {
        "{run} --config folder-small": "--config",
        "{run} --labeled 1/2": "--labeled",
        "{run} --seed 3": "--seed",
        "nothing": "nothing config.yaml",
    }
    refuses_each("self-train", cases, run=reference)
    unfinished = shutil.copytree(reference, tmp_path / "unfinished")
    (unfinished / "summary.json").unlink()
    refuses("self-train", unfinished, words=["summary.json", "--resume"])
