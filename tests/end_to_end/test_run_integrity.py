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
from tests.end_to_end.processes import RUN, Launcher, assert_same_run, metrics, refuses, tree


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


CHANGES: dict[Callable[[Path], None], tuple[str, bool]] = {
    swap_names: ("label ids: 7 road -> building, 11 building -> road", True),
    ignore_an_id: ("label ids: 99 unknown -> ignore", True),
    remove_a_validation_image: ("validation images: 1 are gone", True),
    void_a_validation_label: ("validation images: files of 1 have changed (day 0/frame.0: ", True),
    void_half_of_the_training_labels: ("labeled images: files of 2 have changed", False),
    add_a_class: ("-> background, road, building", True),
}
"""Change of the data -> a part of what is said of it; whether scores are others as well."""


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory, launch: Launcher) -> Path:
    """A folder with a run of four steps on a folder data set, and with the data."""
    origin = tmp_path_factory.mktemp("origin")
    write_folder(origin / "pristine", "train", count=8)
    write_folder(origin / "pristine", "val", count=2)
    shutil.copytree(origin / "pristine", origin / "data")
    data = TINY["data"] | {"dataset": "folder", "root": str(origin / "data"), "resize": [32, 64]}
    settings = {name: section for name, section in TINY.items() if name != "demo"} | {"data": data}
    (origin / "tiny.yaml").write_text(yaml.safe_dump(settings))
    short = ("--iterations", 4, "--validation.every", 2)
    launch.ok("train_ssl", "--config", "tiny.yaml", *RUN, *short, cwd=origin)
    return origin


@pytest.fixture
def trained(origin: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A copy of the run, and its data, which it finds where it did."""
    shutil.rmtree(origin / "data")
    shutil.copytree(origin / "pristine", origin / "data")
    return Path(shutil.copytree(origin / "out/run", tmp_path / "out/run")), origin / "data"


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_data_that_changed_are_refused_on_resume_and_by_evaluate(
    change: Callable[[Path], None], trained: tuple[Path, Path]
) -> None:
    run, data = trained
    said, scored = CHANGES[change]
    change(data)
    before = tree(run)
    refuses("ssl", "--resume", run, words=[str(run), said])
    if scored:
        refuses("evaluate", run, words=[said, "--allow-changes"])
    if change is add_a_class:
        refuses("ssl", "--resume", run, "--allow-changes", words=["3 classes", "4"])
    assert tree(run) == before


def test_accepted_changes_are_written_into_the_run(
    trained: tuple[Path, Path], launch: Launcher
) -> None:
    run, data = trained
    remove_a_validation_image(data)
    done = launch.ok("train_ssl", "--resume", run, "--iterations", 6, "--allow-changes")
    assert "accepted: validation images: 1 are gone" in done.out
    entries = json.loads((run / "environment.json").read_text())
    assert any("1 are gone" in line for line in entries[-1]["accepted_changes"])
    # From now on they are the run's data.
    launch.ok("evaluate", run)
    launch.ok("train_ssl", "--resume", run)
    other = ("--data-root", data, "--allow-changes")
    refuses("evaluate", run, *other, words=["--allow-changes"])


def test_other_unlabeled_images(trained: tuple[Path, Path], launch: Launcher) -> None:
    run, data = trained
    unlabeled = (run / "unlabeled.txt").read_text()
    (run / "unlabeled.txt").write_text("")
    (data / "images/train/day 1/frame.3.JPG").unlink()
    lists = f"{run}/labeled.txt,{run}/unlabeled.txt"
    refuses("ssl", "--resume", run, words=[lists], code=1)
    assert (run / "unlabeled.txt").read_text() == unlabeled  # what the message advises is there
    done = launch.ok("train_ssl", "--resume", run, "--allow-changes")
    assert "day 1/frame.3" in done.out
    assert "frame.3" not in (run / "unlabeled.txt").read_text() + (run / "labeled.txt").read_text()
    assert json.loads((run / "split.json").read_text())["total"] == 7
    launch.ok("train_ssl", "--resume", run)


# A run's own files ------------------------------------------------------------------------------


@pytest.fixture
def at_step_6(reference: Path, tmp_path: Path) -> Path:
    """A copy of the reference, as it was at its checkpoint before the last."""
    run = Path(shutil.copytree(reference, tmp_path / "out/run"))
    shutil.rmtree(run / "checkpoints/step-00000008")
    (run / "summary.json").unlink()
    return run


def test_an_edited_configuration_asks_for_other_settings(at_step_6: Path, launch: Launcher) -> None:
    saved = (at_step_6 / "config.yaml").read_text()
    resume = ("--resume", at_step_6)
    for name, new in (
        ("model.backbone", "test_vit"),
        ("method", "supervised"),
        ("optimizer.lr", 0.5),
    ):
        content = yaml.safe_load(saved)
        section, _, key = name.rpartition(".")
        (content[section] if section else content)[key] = new
        (at_step_6 / "config.yaml").write_text(yaml.safe_dump(content))
        refuses("ssl", *resume, words=[f"{name}: ", "config.yaml", "--allow-changes"])
        if name != "optimizer.lr":
            words = ["checkpoint does not fit", f"{name}: "]
            refuses("ssl", *resume, "--allow-changes", words=words)
    done = launch.ok("train_ssl", *resume, "--allow-changes")
    assert "accepted: optimizer.lr: " in done.out


LOST = {"config.yaml": "data: {", "labeled.txt": "", "unlabeled.txt": None, "data.json": ""}
"""File of a run -> what is left of it; None if it is gone."""


@pytest.mark.parametrize("lost", [LOST, {"config.yaml": None, "split.json": None}], ids=str)
def test_files_that_were_lost_come_back(
    lost: dict[str, str | None], at_step_6: Path, reference: Path, launch: Launcher
) -> None:
    for name, left in lost.items():
        if left is None:
            (at_step_6 / name).unlink()
        else:
            (at_step_6 / name).write_text(left)
    done = launch.ok("train_ssl", "--resume", "out/run")
    for name in lost.keys() - {"data.json"}:
        assert f"{name}: was lost or changed" in done.out
    assert_same_run(reference, at_step_6)
    for name in lost.keys() - {"config.yaml"}:
        assert (at_step_6 / name).read_text() == (reference / name).read_text()
    found, wanted = (
        resolve_settings([path / "config.yaml"], {}) for path in (at_step_6, reference)
    )
    assert found == wanted


def test_a_log_that_was_cut_is_said_and_gone_on_with(
    at_step_6: Path, reference: Path, launch: Launcher
) -> None:
    log = at_step_6 / "metrics.jsonl"
    content = log.read_bytes()
    third = content.split(b"\n")[2]
    log.write_bytes(content[: content.index(third) + 9])
    done = launch.ok("train_ssl", "--resume", "out/run")
    assert "metrics.jsonl: was changed since the checkpoint" in done.out
    lines = metrics(reference)
    assert metrics(at_step_6) == lines[:2] + [line for line in lines if line["step"] > 6]
