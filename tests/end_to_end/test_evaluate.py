"""tools/evaluate.py on the run of the session."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixseg.data.camvid import CAMVID
from mixseg.data.cityscapes import CITYSCAPES
from mixseg.errors import CheckpointError, ConfigError, DataError
from tests.data.layouts import write_camvid, write_folder
from tests.end_to_end.processes import Launcher, flip_bit, refused, refused_here


def evaluated(launch: Launcher, cwd: Path, *arguments: object) -> dict:
    done = launch.ok("evaluate", *arguments, "--json", "scores.json", cwd=cwd)
    for name in (*CITYSCAPES.names, "mIoU"):
        assert name in done.out
    return json.loads((cwd / "scores.json").read_text())


def test_the_scores_are_those_of_the_run(reference: Path, launch: Launcher, tmp_path: Path) -> None:
    run = reference
    found = evaluated(launch, tmp_path, run)
    assert found["scores"] == json.loads((run / "summary.json").read_text())["last"]
    assert (found["step"], found["split"]) == (8, "val")
    # Neither a larger batch nor processes that read images change them.
    assert evaluated(launch, tmp_path, run, "--batch-size", 2, "--workers", 1) == found


@pytest.mark.parametrize("name", ["student", "teacher"])
def test_one_network_of_one_checkpoint(
    name: str, reference: Path, launch: Launcher, tmp_path: Path
) -> None:
    run = reference
    best = json.loads((run / "summary.json").read_text())["best"][name]
    found = evaluated(launch, tmp_path, run / "checkpoints" / f"best-{name}")
    assert [*found["scores"]] == [name]
    assert (found["step"], found["scores"][name]["miou"]) == (best["step"], best["miou"])
    older = run / "checkpoints" / "step-00000006"
    found = evaluated(launch, tmp_path, older, "--network", name)
    assert ([*found["scores"]], found["step"]) == ([name], 6)


def test_ways_to_look(reference: Path, launch: Launcher, tmp_path: Path) -> None:
    run = reference
    plain = evaluated(launch, tmp_path, run, "--network", "student")["scores"]["student"]
    for arguments, described in (
        (("--mode", "slide", "--window", "64x64"), "64"),
        (("--flip",), "flip"),
        (("--scales", "0.75,1,1.25"), "0.75"),
    ):
        found = evaluated(launch, tmp_path, run, "--network", "student", *arguments)
        scores = found["scores"]["student"]
        assert scores["miou"] != plain["miou"]
        assert described in scores["mode"]
    # One window that covers the image is the whole image.
    found = evaluated(
        launch, tmp_path, run, "--network", "student", "--mode", "slide", "--window", "64x128"
    )
    assert found["scores"]["student"]["miou"] == plain["miou"]
    found = evaluated(launch, tmp_path, run, "--network", "student", "--resolution", "64x128")
    assert found["scores"]["student"]["miou"] == plain["miou"]
    assert found["scores"]["student"]["resolution"] == "64x128"


def test_labels_are_compared_where_the_run_has_compared_them(
    reference: Path, launch: Launcher, config: Path, tmp_path: Path
) -> None:
    at_input = ("--data.resize", "32x64", "--validation.resolution", "input")
    done = launch.ok(
        *("train_ssl", "--config", config, "--output", "out", "--name", "run", *at_input),
    )
    run = tmp_path / "out" / "run"
    last = json.loads((run / "summary.json").read_text())["last"]["student"]
    for arguments in ((), ("--resolution", "input"), ("--resolution", "32x64")):
        scores = evaluated(launch, tmp_path, run, *arguments)["scores"]["student"]
        assert scores["resolution"].startswith("32x64")
        assert scores["miou"] == last["miou"]
    for arguments in (("--resolution", "native"), ("--resize", "none")):
        scores = evaluated(launch, tmp_path, run, *arguments)["scores"]["student"]
        assert scores["resolution"].startswith("native")
    done = launch("evaluate", reference, "--resolution", "input")
    refused(done, "--resolution input: images reach the network in their own size")


@pytest.mark.parametrize(
    ("format", "shape"),
    [("train-ids", (64, 128)), ("label-ids", (64, 128)), ("colour", (64, 128, 3))],
)
def test_saved_predictions(
    format: str,
    shape: tuple[int, ...],
    reference: Path,
    launch: Launcher,
    tmp_path: Path,
) -> None:
    evaluated(launch, tmp_path, reference, "--save-predictions", "saved", "--format", format)
    allowed = {
        "train-ids": {*range(len(CITYSCAPES))},
        "label-ids": {7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33},
        "colour": {*CITYSCAPES.palette},
    }[format]
    for name in ("student", "teacher"):
        files = [*(tmp_path / "saved" / name).rglob("*.png")]
        assert len(files) == 3
        for file in files:
            assert file.name.endswith("_leftImg8bit.png")
            with Image.open(file) as image:
                pixels = np.array(image)
            assert pixels.shape == shape
            found = (
                {
                    tuple(value) if isinstance(value, list) else value
                    for value in np.unique(pixels.reshape(64 * 128, -1), axis=0).squeeze(1).tolist()
                }
                if pixels.ndim == 2
                else {tuple(value) for value in np.unique(pixels.reshape(-1, 3), axis=0).tolist()}
            )
            assert found <= allowed
    # They are not overwritten.
    done = launch("evaluate", reference, "--save-predictions", "saved")
    refused(done, "--save-predictions saved: exists and is not empty")


def test_data_with_other_classes(reference: Path, launch: Launcher, tmp_path: Path) -> None:
    # Predictions of 19 classes become CamVid's 11.
    write_camvid(tmp_path / "camvid", "val", count=2)
    arguments = (
        *(reference, "--network", "student", "--dataset", "camvid", "--data-root", "camvid"),
        *("--save-predictions", "saved", "--resize", "48x96", "--json", "scores.json"),
    )
    done = launch.ok("evaluate", *arguments)
    for line in (
        "class map (built in): predictions of 19 classes -> 11 classes of the data",
        "traffic light + traffic sign -> sign symbol",
        "ignored: train",
        "images reach the network in 48x96 (--resize)",
        "mIoU over the 11 classes that both know",
    ):
        assert line in done.out
    found = json.loads((tmp_path / "scores.json").read_text())
    assert found["scores"]["student"]["classes"] == list(CAMVID.names)
    assert found["judged"] == list(CAMVID.names)
    assert found["class_map"]["origin"] == "built in"
    assert found["class_map"]["dropped"] == ["train"]
    assert found["class_map"]["joined"]["car"] == ["car", "truck", "bus"]
    assert found["input_size"] == [48, 96]
    files = [*(tmp_path / "saved").rglob("*.png")]
    assert len(files) == 2
    right = labelled = 0
    for file in files:
        with (
            Image.open(file) as image,
            Image.open(tmp_path / "camvid" / "valannot" / file.name) as own,
        ):
            prediction, label = np.array(image), np.array(own)
        assert {*np.unique(prediction).tolist()} <= {*range(len(CAMVID)), 255}
        right += int(((prediction == label) & (label < len(CAMVID))).sum())
        labelled += int((label < len(CAMVID)).sum())
    accuracy = found["scores"]["student"]["pixel_accuracy"]
    assert accuracy == pytest.approx(right / labelled, abs=1e-12)


def test_classes_of_a_file(reference: Path, launch: Launcher, tmp_path: Path) -> None:
    write_folder(tmp_path / "own", "val", count=2)
    arguments = (
        *(reference, "--network", "student", "--dataset", "folder", "--data-root", "own"),
        *("--json", "scores.json"),
    )
    done = launch("evaluate", *arguments)
    refused(done, "no class map is built in", "--class-map FILE", code=1)
    text = "background: ignore\nroad: road\nbuilding: building\n"
    (tmp_path / "map.yaml").write_text(text)
    done = launch.ok("evaluate", *arguments, "--class-map", "map.yaml")
    assert "class map (map.yaml): labels of 3 classes -> 19 classes of the network" in done.out
    assert "mIoU over the 2 classes that both know" in done.out
    found = json.loads((tmp_path / "scores.json").read_text())
    assert found["judged"] == ["road", "building"]
    iou = dict(zip(CITYSCAPES.names, found["scores"]["student"]["iou"], strict=True))
    assert found["scores"]["student"]["miou"] == (iou["road"] + iou["building"]) / 2
    assert iou["sky"] is None
    (tmp_path / "map.yaml").write_text(text.replace("building: b", "bilding: b"))
    done = launch("evaluate", *arguments, "--class-map", "map.yaml")
    refused(done, "map.yaml, line 3: unknown source class 'bilding'", "'building'", code=1)


def test_a_damaged_checkpoint(reference: Path, launch: Launcher, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(reference, run)
    newest = run / "checkpoints" / "step-00000008"
    flip_bit(newest / "teacher.safetensors")
    done = launch("evaluate", "run/checkpoints/step-00000008")
    refused(done, "step-00000008/teacher.safetensors: damaged", "SHA-256", code=1)
    # The student's file is intact.
    arguments = ("run/checkpoints/step-00000008", "--network", "student")
    assert launch("evaluate", *arguments).code == 0
    # Of a run the newest intact one is taken; the scores name its step, a line says why.
    assert evaluated(launch, tmp_path, "run")["step"] == 6
    done = launch("evaluate", "run")
    assert "passed over" in done.out and "teacher.safetensors: damaged" in done.out
    flip_bit(run / "checkpoints" / "step-00000006" / "state.json")
    done = launch("evaluate", "run")
    refused(done, "no checkpoint can be read", "state.json: damaged", code=1)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ("nowhere", CheckpointError, "nowhere: is not a folder"),
        (".", CheckpointError, "no checkpoints"),
        ("RUN/config.yaml", CheckpointError, "config.yaml: is not a folder"),
        ("RUN/checkpoints/best-student --network teacher", CheckpointError, "'teacher'"),
        ("RUN --scales big", ConfigError, "--scales: "),
        ("RUN --mode slide", ConfigError, "--window HEIGHTxWIDTH"),
        ("RUN --window 64x64", ConfigError, "--mode slide"),
        ("RUN --resolution 64", ConfigError, "--resolution: "),
        ("RUN --resize wide", ConfigError, "--resize: "),
        ("RUN --class-map nowhere.yaml", ConfigError, "nowhere.yaml"),
        ("RUN --split vall", DataError, "vall"),
        ("RUN --dataset voc", ConfigError, "--data-root DIR"),
        ("RUN --device cuda:99", ConfigError, "CUDA devices"),
        ("RUN --flipp", ConfigError, "'--flip'"),
    ],
)
def test_refusals(
    arguments: str,
    error: type[Exception],
    message: str,
    reference: Path,
    environment: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIXSEG_CACHE", environment["MIXSEG_CACHE"])
    words = [word.replace("RUN", str(reference)) for word in arguments.split()]
    refused_here("evaluate", *words, error=error, match=message)
