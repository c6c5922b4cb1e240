"""tools/evaluate.py on the run of the session."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixseg.data.cityscapes import CITYSCAPES
from tests.end_to_end.processes import Launcher, flip_bit, refused


def evaluated(launch: Launcher, cwd: Path, *arguments: object) -> dict:
    done = launch("evaluate", *arguments, "--json", "scores.json", cwd=cwd)
    assert done.code == 0, done.text
    for name in (*CITYSCAPES.names, "mIoU"):
        assert name in done.out
    return json.loads((cwd / "scores.json").read_text())


def test_the_scores_are_those_of_the_run(
    reference: tuple[Path, str], launch: Launcher, tmp_path: Path
) -> None:
    run, _ = reference
    found = evaluated(launch, tmp_path, run)
    assert found["scores"] == json.loads((run / "summary.json").read_text())["last"]
    assert (found["step"], found["split"]) == (8, "val")
    # Neither a larger batch nor processes that read images change them.
    assert evaluated(launch, tmp_path, run, "--batch-size", 2, "--workers", 1) == found


@pytest.mark.parametrize("name", ["student", "teacher"])
def test_one_network_of_one_checkpoint(
    name: str, reference: tuple[Path, str], launch: Launcher, tmp_path: Path
) -> None:
    run, _ = reference
    best = json.loads((run / "summary.json").read_text())["best"][name]
    found = evaluated(launch, tmp_path, run / "checkpoints" / f"best-{name}")
    assert [*found["scores"]] == [name]
    assert (found["step"], found["scores"][name]["miou"]) == (best["step"], best["miou"])
    older = run / "checkpoints" / "step-00000006"
    found = evaluated(launch, tmp_path, older, "--network", name)
    assert ([*found["scores"]], found["step"]) == ([name], 6)


def test_ways_to_look(reference: tuple[Path, str], launch: Launcher, tmp_path: Path) -> None:
    run, _ = reference
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


@pytest.mark.parametrize(
    ("format", "shape"),
    [("train-ids", (64, 128)), ("label-ids", (64, 128)), ("colour", (64, 128, 3))],
)
def test_saved_predictions(
    format: str,
    shape: tuple[int, ...],
    reference: tuple[Path, str],
    launch: Launcher,
    tmp_path: Path,
) -> None:
    evaluated(launch, tmp_path, reference[0], "--save-predictions", "saved", "--format", format)
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
    done = launch("evaluate", reference[0], "--save-predictions", "saved", cwd=tmp_path)
    refused(done, "--save-predictions saved: exists and is not empty")


def test_a_damaged_checkpoint(
    reference: tuple[Path, str], launch: Launcher, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(reference[0], run)
    newest = run / "checkpoints" / "step-00000008"
    flip_bit(newest / "teacher.safetensors")
    done = launch("evaluate", "run/checkpoints/step-00000008", cwd=tmp_path)
    refused(done, "step-00000008/teacher.safetensors: damaged", "SHA-256", code=1)
    # The student's file is intact.
    arguments = ("run/checkpoints/step-00000008", "--network", "student")
    assert launch("evaluate", *arguments, cwd=tmp_path).code == 0
    # Of a run the newest intact one is taken; the scores name its step, a line says why.
    assert evaluated(launch, tmp_path, "run")["step"] == 6
    done = launch("evaluate", "run", cwd=tmp_path)
    assert "passed over" in done.out and "teacher.safetensors: damaged" in done.out
    flip_bit(run / "checkpoints" / "step-00000006" / "state.json")
    done = launch("evaluate", "run", cwd=tmp_path)
    refused(done, "no checkpoint can be read", "state.json: damaged", code=1)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere"], 1, "nowhere: is not a folder"),
        (["."], 1, "it has no checkpoints"),
        (["RUN/config.yaml"], 1, "config.yaml: is not a folder"),
        (["RUN/checkpoints/best-student", "--network", "teacher"], 1, "holds no 'teacher'"),
        (["RUN", "--scales", "big"], 2, "--scales big"),
        (["RUN", "--mode", "slide"], 2, "--window HEIGHTxWIDTH"),
        (["RUN", "--window", "64x64"], 2, "--window needs --mode slide"),
        (["RUN", "--resolution", "64"], 2, "--resolution 64"),
        (["RUN", "--split", "vall"], 1, "vall"),
        (["RUN", "--dataset", "voc"], 2, "--data-root DIR is needed"),
        (["RUN", "--device", "cuda:99"], 2, "CUDA devices"),
        (["RUN", "--flipp"], 2, "Did you mean '--flip'?"),
    ],
)
def test_refusals(
    arguments: list[str],
    code: int,
    message: str,
    reference: tuple[Path, str],
    launch: Launcher,
    tmp_path: Path,
) -> None:
    arguments = [argument.replace("RUN", str(reference[0])) for argument in arguments]
    refused(launch("evaluate", *arguments, cwd=tmp_path), message, code=code)
