"""tools/evaluate.py on the run of the session."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mixseg.data.camvid import CAMVID
from mixseg.data.cityscapes import CITYSCAPES
from tests.data.layouts import write_camvid, write_folder
from tests.end_to_end.processes import RUN, Launcher, flip_bit, refused, refuses, refuses_each


def evaluated(launch: Launcher, *arguments: object) -> dict[str, Any]:
    done = launch.ok("evaluate", *arguments, "--json", "scores.json")
    for name in (*CITYSCAPES.names, "mIoU"):
        assert name in done.out
    return json.loads(Path("scores.json").read_text())


def student(launch: Launcher, run: Path, *arguments: object) -> dict[str, Any]:
    return evaluated(launch, run, "--network", "student", *arguments)["scores"]["student"]


def test_the_scores_are_those_of_the_run(reference: Path, launch: Launcher) -> None:
    found = evaluated(launch, reference)
    summary = json.loads((reference / "summary.json").read_text())
    assert found["scores"] == summary["last"]
    assert (found["step"], found["split"]) == (8, "val")
    # Neither a larger batch nor processes that read images change them.
    assert evaluated(launch, reference, "--batch-size", 2, "--workers", 1) == found
    # One network of one checkpoint.
    best = summary["best"]["teacher"]
    found = evaluated(launch, reference / "checkpoints/best-teacher")
    assert [*found["scores"]] == ["teacher"]
    assert (found["step"], found["scores"]["teacher"]["miou"]) == (best["step"], best["miou"])
    found = evaluated(launch, reference / "checkpoints/step-00000006", "--network", "student")
    assert ([*found["scores"]], found["step"]) == (["student"], 6)


def test_ways_to_look(reference: Path, launch: Launcher) -> None:
    plain = student(launch, reference)
    for arguments, described in (
        (("--mode", "slide", "--window", "64x64"), "64"),
        (("--flip",), "flip"),
        (("--scales", "0.75,1,1.25"), "0.75"),
    ):
        scores = student(launch, reference, *arguments)
        assert scores["miou"] != plain["miou"] and described in scores["mode"]
    # One window that covers the image is the whole image.
    whole = ("--mode", "slide", "--window", "64x128", "--resolution", "64x128")
    scores = student(launch, reference, *whole)
    assert (scores["miou"], scores["resolution"]) == (plain["miou"], "64x128")


def test_labels_are_compared_where_the_run_has_compared_them(
    launch: Launcher, config: Path, tmp_path: Path
) -> None:
    at_input = ("--data.resize", "32x64", "--validation.resolution", "input")
    launch.ok("train_supervised", "--config", config, *RUN, *at_input, "--iterations", 2)
    run = tmp_path / "out/run"
    last = json.loads((run / "summary.json").read_text())["last"]["student"]
    for arguments in ((), ("--resolution", "32x64")):
        scores = student(launch, run, *arguments)
        assert scores["resolution"].startswith("32x64") and scores["miou"] == last["miou"]
    for arguments in (("--resolution", "native"), ("--resize", "none")):
        assert student(launch, run, *arguments)["resolution"].startswith("native")


def test_saved_predictions(reference: Path, launch: Launcher, tmp_path: Path) -> None:
    found = {}
    for name in ("train-ids", "label-ids", "colour"):
        evaluated(launch, reference, "--save-predictions", name, "--format", name)
        files = sorted((tmp_path / name).rglob("*.png"))
        assert [file.relative_to(tmp_path).parts[1] for file in files] == (
            3 * ["student"] + 3 * ["teacher"]
        )
        assert all(file.name.endswith("_leftImg8bit.png") for file in files)
        found[name] = np.stack([np.array(Image.open(file)) for file in files])
    ids = found["train-ids"]
    assert ids.shape == (6, 64, 128) and ids.max() < len(CITYSCAPES)
    np.testing.assert_array_equal(found["label-ids"], np.array(CITYSCAPES.label_ids)[ids])
    np.testing.assert_array_equal(found["colour"], np.array(CITYSCAPES.palette)[ids])


def test_data_with_other_classes(reference: Path, launch: Launcher, tmp_path: Path) -> None:
    # Predictions of 19 classes become CamVid's 11.
    write_camvid(tmp_path / "camvid", "val", count=2)
    done = launch.ok(
        *("evaluate", reference, "--network", "student", "--resize", "48x96"),
        *("--dataset", "camvid", "--data-root", "camvid"),
        *("--save-predictions", "saved", "--json", "scores.json"),
    )
    for line in (
        "class map (built in): predictions of 19 classes -> 11 classes of the data",
        "traffic light + traffic sign -> sign symbol",
        "images reach the network in 48x96 (--resize)",
        "mIoU over the 11 classes that both know",
    ):
        assert line in done.out
    found = json.loads((tmp_path / "scores.json").read_text())
    scores = found["scores"]["student"]
    assert scores["classes"] == found["judged"] == list(CAMVID.names)
    assert found["class_map"]["dropped"] == ["train"]
    assert found["class_map"]["joined"]["car"] == ["car", "truck", "bus"]
    assert found["input_size"] == [48, 96]
    files = [*(tmp_path / "saved").rglob("*.png")]
    found = {one for file in files for one in np.unique(np.array(Image.open(file))).tolist()}
    assert len(files) == 2 and found <= {*range(len(CAMVID)), 255}


def test_classes_of_a_file(reference: Path, launch: Launcher, tmp_path: Path) -> None:
    write_folder(tmp_path / "own", "val", count=2)
    own = (reference, "--network", "student", "--dataset", "folder", "--data-root", "own")
    refuses("evaluate", *own, words=["--class-map"], code=1)
    text = "background: ignore\nroad: road\nbuilding: building\n"
    (tmp_path / "map.yaml").write_text(text)
    found = evaluated(launch, *own, "--class-map", "map.yaml")
    assert found["judged"] == ["road", "building"]
    scores = found["scores"]["student"]
    iou = dict(zip(CITYSCAPES.names, scores["iou"], strict=True))
    assert scores["miou"] == (iou["road"] + iou["building"]) / 2 and iou["sky"] is None
    (tmp_path / "map.yaml").write_text(text.replace("building: b", "bilding: b"))
    words = ["map.yaml, line 3", "'bilding'", "'building'"]
    refuses("evaluate", *own, "--class-map", "map.yaml", words=words, code=1)


def test_a_damaged_checkpoint(reference: Path, launch: Launcher, tmp_path: Path) -> None:
    checkpoints = shutil.copytree(reference, tmp_path / "run") / "checkpoints"
    newest = checkpoints / "step-00000008"
    flip_bit(newest / "teacher.safetensors")
    refused(launch("evaluate", newest), "teacher.safetensors", "SHA-256", code=1)
    # The student's file is intact.
    launch.ok("evaluate", newest, "--network", "student")
    # Of a run the newest intact one is taken; the scores name its step, a line says why.
    done = launch.ok("evaluate", "run", "--json", "s.json")
    assert json.loads((tmp_path / "s.json").read_text())["step"] == 6
    assert "passed over" in done.out and "teacher.safetensors: damaged" in done.out
    flip_bit(checkpoints / "step-00000006/state.json")
    refuses("evaluate", "run", words=["state.json"], code=1)


def test_refusals(reference: Path, tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved/mine").touch()
    usage = {
        "{run} --scales big": "--scales",
        "{run} --mode slide": "--window HEIGHTxWIDTH",
        "{run} --window 64x64": "--mode slide",
        "{run} --resolution 64": "--resolution",
        "{run} --resolution input": "--resolution input",
        "{run} --resize wide": "--resize",
        "{run} --class-map nowhere.yaml": "nowhere.yaml",
        "{run} --dataset voc": "--data-root",
        "{run} --device cuda:99": "CUDA",
        "{run} --flipp": "'--flip'",
        "{run} --save-predictions saved": "--save-predictions saved",
    }
    refuses_each("evaluate", usage, run=reference)
    others = {
        "nowhere": "nowhere",
        ".": "checkpoints",
        "{run}/config.yaml": "config.yaml",
        "{run}/checkpoints/best-student --network teacher": "'teacher'",
        "{run} --split vall": "vall",
    }
    refuses_each("evaluate", others, code=1, run=reference)
