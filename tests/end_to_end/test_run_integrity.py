"""What a run rests on besides its settings, and its own files, changed behind its back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from mixseg.config.resolve import resolve_settings
from tests.data.layouts import FOLDER_DESCRIPTION, SIZE, write_folder, write_label
from tests.end_to_end.conftest import TINY
from tests.end_to_end.processes import Launcher, assert_same_run, metrics, refused_saying, tree


def swap_names(data: Path) -> None:
    describe(data, "names: [background, building, road]\nid_map: {0: 0, 7: 1, 11: 2}\n")


def add_a_class(data: Path) -> None:
    describe(data, "names: [background, road, building, car]\nid_map: {0: 0, 7: 1, 11: 2, 20: 3}\n")


def ignore_an_id(data: Path) -> None:
    describe(data, FOLDER_DESCRIPTION + "ignore: [99, 255]\n")


def remove_a_validation_image(data: Path) -> None:
    for folder in ("images", "labels"):
        next((data / folder / "val").rglob("frame.0.*")).unlink()


def void_a_validation_label(data: Path) -> None:
    write_label(data / "labels/val/day 0/frame.0.png", np.full(SIZE, 255, dtype=np.uint8))


def void_half_of_the_training_labels(data: Path) -> None:
    for path in (data / "labels/train").rglob("*.png"):
        ids = np.full(SIZE, 255, dtype=np.uint8)
        ids[:6] = 7
        write_label(path, ids)


def describe(data: Path, text: str) -> None:
    (data / "dataset.yaml").write_text(text)


SCORED: dict[Callable[[Path], None], str] = {
    swap_names: "label ids: 7 road -> building, 11 building -> road",
    ignore_an_id: "label ids: 99 unknown -> ignore",
    remove_a_validation_image: "validation images: 1 are gone",
    void_a_validation_label: "validation images: files of 1 have changed (day 0/frame.0: ",
}
"""Changes of what a network is evaluated on -> a part of what is said of them."""

TRAINED: dict[Callable[[Path], None], str] = {
    void_half_of_the_training_labels: "labeled images: files of 2 have changed",
    add_a_class: "-> background, road, building",
}


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, launch: Launcher
) -> Callable[[Path], tuple[Path, Path]]:
    """Copies a run of four steps on a folder data set, and the data, to another folder."""
    origin = tmp_path_factory.mktemp("origin")
    write_folder(origin / "data", "train", count=8)
    write_folder(origin / "data", "val", count=2)
    settings = {name: dict(section) for name, section in TINY.items() if name != "demo"}
    settings["data"] |= {"dataset": "folder", "root": str(origin / "data"), "resize": [32, 64]}
    settings["training"]["iterations"] = 4
    settings["validation"]["every"] = 2
    (origin / "tiny.yaml").write_text(yaml.safe_dump(settings))
    launch.ok("train_ssl", "--config", "tiny.yaml", "--output", "out", "--name", "run", cwd=origin)

    def copy(folder: Path) -> tuple[Path, Path]:
        # The run finds its data where it did, so they are put there for each test.
        if (origin / "pristine").is_dir():
            shutil.rmtree(origin / "data")
        else:
            shutil.copytree(origin / "data", origin / "pristine")
        shutil.copytree(origin / "pristine", origin / "data", dirs_exist_ok=True)
        shutil.copytree(origin / "out", folder / "out")
        return folder / "out" / "run", origin / "data"

    return copy


@pytest.mark.parametrize("change", [*SCORED, *TRAINED], ids=lambda change: change.__name__)
def test_data_that_changed_are_refused_on_resume_and_by_evaluate(
    change: Callable[[Path], None], trained: Callable[[Path], tuple[Path, Path]], tmp_path: Path
) -> None:
    run, data = trained(tmp_path)
    change(data)
    before, said = tree(run), (SCORED | TRAINED)[change]
    refused_saying("ssl", "--resume", run, words=[str(run), said])
    assert tree(run) == before
    if change in SCORED or change is add_a_class:  # what was trained on is no matter of scores
        refused_saying("evaluate", run, words=[said, "--allow-changes"])
    if change is add_a_class:
        refused_saying("ssl", "--resume", run, "--allow-changes", words=["3 classes", "4"])


def test_accepted_changes_are_written_into_the_run(
    trained: Callable[[Path], tuple[Path, Path]], launch: Launcher, tmp_path: Path
) -> None:
    run, data = trained(tmp_path)
    remove_a_validation_image(data)
    more = ("--resume", run, "--iterations", 6, "--allow-changes")
    done = launch.ok("train_ssl", *more)
    assert "accepted: validation images: 1 are gone" in done.out
    entries = json.loads((run / "environment.json").read_text())
    assert any("1 are gone" in line for line in entries[-1]["accepted_changes"])
    # From now on they are the run's data.
    launch.ok("evaluate", run)
    launch.ok("train_ssl", "--resume", run)
    refused_saying(
        "evaluate", run, "--data-root", data, "--allow-changes", words=["--allow-changes"]
    )


def test_other_unlabeled_images(
    trained: Callable[[Path], tuple[Path, Path]], launch: Launcher, tmp_path: Path
) -> None:
    run, data = trained(tmp_path)
    lists = f"{run}/labeled.txt,{run}/unlabeled.txt"
    unlabeled = (run / "unlabeled.txt").read_text()
    (run / "unlabeled.txt").write_text("")
    (data / "images/train/day 1/frame.3.JPG").unlink()
    refused_saying("ssl", "--resume", run, words=[lists], code=1)
    assert (run / "unlabeled.txt").read_text() == unlabeled  # what the message advises is there
    done = launch.ok("train_ssl", "--resume", run, "--allow-changes")
    assert "day 1/frame.3" in done.out
    assert "frame.3" not in (run / "unlabeled.txt").read_text() + (run / "labeled.txt").read_text()
    assert json.loads((run / "split.json").read_text())["total"] == 7
    launch.ok("train_ssl", "--resume", run)


# A run's own files ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, reference: Path) -> Callable[[Path], Path]:
    """Copies the run of the reference, as it was at its checkpoint before the last."""

    def copy(folder: Path) -> Path:
        shutil.copytree(reference, folder / "out" / "run")
        run = folder / "out" / "run"
        shutil.rmtree(run / "checkpoints" / "step-00000008")
        (run / "summary.json").unlink()
        return run

    return copy


@pytest.mark.parametrize("name", ["optimizer.lr", "model.backbone", "method"])
def test_an_edited_configuration_asks_for_other_settings(
    name: str, finished: Callable[[Path], Path], launch: Launcher, tmp_path: Path
) -> None:
    run = finished(tmp_path)
    new = {"optimizer.lr": 0.5, "model.backbone": "test_vit", "method": "supervised"}[name]
    content = yaml.safe_load((run / "config.yaml").read_text())
    section, _, key = name.rpartition(".")
    (content[section] if section else content)[key] = new
    (run / "config.yaml").write_text(yaml.safe_dump(content))
    refused_saying("ssl", "--resume", run, words=[f"{name}: ", "config.yaml", "--allow-changes"])
    if name != "optimizer.lr":
        words = ["checkpoint does not fit", f"{name}: "]
        refused_saying("ssl", "--resume", run, "--allow-changes", words=words)
        return
    done = launch.ok("train_ssl", "--resume", "out/run", "--allow-changes")
    assert f"accepted: {name}: " in done.out


LOST = {"config.yaml": "data: {", "labeled.txt": "", "unlabeled.txt": None, "data.json": ""}
"""File of a run -> what is left of it; None if it is gone."""


@pytest.mark.parametrize("lost", [LOST, {"config.yaml": None, "split.json": None}], ids=str)
def test_files_that_were_lost_come_back(
    lost: dict[str, str | None],
    finished: Callable[[Path], Path],
    reference: Path,
    launch: Launcher,
    tmp_path: Path,
) -> None:
    run = finished(tmp_path)
    for name, left in lost.items():
        if left is None:
            (run / name).unlink()
        else:
            (run / name).write_text(left)
    done = launch.ok("train_ssl", "--resume", "out/run")
    for name in lost.keys() - {"data.json"}:
        assert f"{name}: was lost or changed" in done.out
    assert_same_run(reference, run)
    for name in lost.keys() - {"config.yaml"}:
        assert (run / name).read_text() == (reference / name).read_text()
    found, wanted = (resolve_settings([path / "config.yaml"], {}) for path in (run, reference))
    assert found == wanted


def test_a_log_that_was_cut_is_said_and_gone_on_with(
    finished: Callable[[Path], Path], reference: Path, launch: Launcher, tmp_path: Path
) -> None:
    run = finished(tmp_path)
    content = (run / "metrics.jsonl").read_bytes()
    third = content.split(b"\n")[2]
    (run / "metrics.jsonl").write_bytes(content[: content.index(third) + 9])
    done = launch.ok("train_ssl", "--resume", "out/run")
    assert "metrics.jsonl: was changed since the checkpoint" in done.out
    lines = metrics(reference)
    assert metrics(run) == lines[:2] + [line for line in lines if line["step"] > 6]
