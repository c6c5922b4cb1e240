"""What docs/python.md shows, run as it stands."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import numpy as np
import pytest

import mixseg
from mixseg.data.camvid import CAMVID
from mixseg.data.from_python import from_python
from mixseg.errors import ConfigError, MixsegError
from tests import hardware
from tests.data.layouts import write_camvid, write_folder

PAGE = Path(__file__).parents[1] / "docs" / "python.md"
SMALL = {
    "demo.train_images": 16,
    "demo.val_images": 2,
    "demo.size": (64, 64),
    "data.workers": 0,
    "training.precision": "fp32",
}


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # Scenes that are drawn in a moment; what the page says stays as it is.
    train = mixseg.train
    monkeypatch.setattr(
        mixseg,
        "train",
        lambda *words, settings=None, **given: train(
            *words, settings={**SMALL, **(settings or {})}, **given
        ),
        raising=False,
    )
    monkeypatch.setattr(logging, "basicConfig", lambda **how: None)
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), names)
    assert names["ids"].shape == (96, 128)  # type: ignore[attr-defined]
    assert names["own"].scores["teacher"].miou > 0.4  # type: ignore[attr-defined]
    assert names["run"].outcome.step == 6  # type: ignore[attr-defined]
    own = names["own"]
    again = own.resume(iterations=24)  # type: ignore[attr-defined]
    assert again.outcome.step == 24
    # Another process would have to hand in the objects again.
    with pytest.raises(ConfigError, match="network"):
        mixseg.resume("runs/own")
    with pytest.raises(MixsegError, match="network"):
        mixseg.load("runs/own")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"mixr": "classmix"}, "mixer"),
        ({"mixer": "clasmix"}, "classmix"),
        ({"settings": {"optimizer.l": 1}}, "optimizer.lr"),
        ({"dataset": [], "classes": ["a"]}, "dataset"),
        ({"dataset": [(0, 0)]}, "classes"),
        ({"iterations": object()}, "iterations"),
    ],
)
def test_wrong_calls_name_what_is_wrong(given: dict[str, object], named: str) -> None:
    with pytest.raises(MixsegError, match=named):
        mixseg.train("ssl", **given)  # type: ignore[arg-type]


def test_it_prints_nothing_by_itself(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging.getLogger("mixseg"), "handlers", [])  # those of commands
    mixseg.train("supervised", iterations=1, output="runs", settings=SMALL)
    assert capfd.readouterr() == ("", "")


def test_evaluate_is_the_runs_own_validation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    hardware.with_bf16(True, monkeypatch.setattr)
    write_folder(tmp_path / "data", "train", count=4)
    write_folder(tmp_path / "data", "val", count=3)
    own = {"data.resize": (32, 48), "validation.resolution": "input", "training.precision": "bf16"}
    settings = {**SMALL, **own, "model.batch_norm": "train", "model.weights": "none"}
    run = mixseg.train(
        "supervised", dataset="folder", data_root="data", iterations=2, settings=settings
    )
    found, of_run = run.evaluate(), run.scores["average"]
    assert found.miou == pytest.approx(of_run.miou, abs=1e-3)  # bf16 rounds by memory layout
    assert (found.resolution, found.images) == (of_run.resolution, 3)
    assert run.evaluate(precision="fp32").miou != found.miou
    # Images that are gone are no longer those of the run.
    gone = next((tmp_path / "data/labels/val").rglob("*.png"))
    gone.unlink()
    next((tmp_path / "data/images/val").rglob(f"{gone.stem}.*")).unlink()
    with pytest.raises(ConfigError, match="data"):
        run.evaluate()
    assert run.evaluate(allow_changes=True).images == 2
    with pytest.raises(ConfigError):
        run.evaluate(split="train", allow_changes=True)


def test_evaluate_on_other_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = mixseg.train("supervised", iterations=1, output="runs", settings=SMALL)
    names = write_camvid(tmp_path / "camvid", "val", count=2)
    found = run.evaluate(dataset="camvid", data_root="camvid")
    assert found.classes == CAMVID.names and found.images == len(names)
    (tmp_path / "map.yaml").write_text("road: road\n")
    with pytest.raises(MixsegError, match="map"):
        run.evaluate(dataset="camvid", data_root="camvid", class_map="map.yaml")


def test_evaluate_takes_what_was_held_out_of_objects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    image, label = np.zeros((64, 64, 3), np.uint8), np.eye(64, dtype=np.uint8)
    run = mixseg.train(
        "supervised",
        dataset=[(image, label)] * 5,
        classes=["off", "on"],
        val="2",
        iterations=1,
        settings=SMALL | {"model.batch_norm": "train", "model.weights": "none"},
    )
    assert run.evaluate() == run.scores["average"]
    assert run.evaluate().images == 2
    assert run.evaluate(val=[(image, label)]).images == 1


def test_a_few_labels_of_a_target_of_objects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    image, label = np.zeros((64, 64, 3), np.uint8), np.eye(64, dtype=np.uint8)
    pairs = [(image, label if index % 2 else None) for index in range(8)]
    run = mixseg.train(
        "supervised",
        source=[(image, label)] * 3,
        dataset=from_python(pairs, ["off", "on"], labeled=range(1, 8, 2)),
        val=[(image, label)],
        classes=["off", "on"],
        labeled_target="1/2",
        iterations=1,
        settings=SMALL
        | {"model.batch_norm": "train", "model.weights": "none", "data.unpaired": "skip"},
    )
    labeled = (run.path / "target.txt").read_text().split()
    assert len(labeled) == 2 and {int(one) % 2 for one in labeled} == {1}
    assert len((run.path / "unlabeled.txt").read_text().split()) == 6
    assert run.resume(iterations=2).outcome.step == 2
