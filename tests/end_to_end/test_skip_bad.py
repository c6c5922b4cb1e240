"""Runs that go on without the images that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.data.layouts import write_image
from tests.end_to_end.processes import (
    Launcher,
    assert_same_run,
    metrics,
    refused,
    refuses,
    run_group,
)

IMAGES = 40
STEPS = 24
"""Two images each: all are drawn, and some twice."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Unlabeled photographs, of which two are damaged: 5 %, as many as may be."""
    root = tmp_path / "photographs"
    for number in range(IMAGES):
        write_image(root / f"{number:02}.png", number, (64, 128))
    (root / "07.png").write_bytes((root / "07.png").read_bytes()[:-100])
    (root / "20.png").write_text("\x1b[31mno picture")
    return root


def arguments(config: Path, name: str, *more: object) -> tuple[object, ...]:
    return (
        *("--config", config, "--output", "out", "--name", name, "--unlabeled", "photographs"),
        *("--iterations", STEPS, "--validation.every", 0, *more),
    )


def skipped(run: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (run / "skipped.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_what_is_drawn_does_not_depend_on_workers_kills_and_processes(
    folder: Path, config: Path, launch: Launcher, tmp_path: Path
) -> None:
    names = ("plain", "workers", "killed", "two")
    runs = [tmp_path / "out" / name for name in names]
    plain, workers, killed, two = (arguments(config, name, "--skip-bad") for name in names)
    done = launch.ok("train_ssl", *plain)
    assert [(one["stream"], one["id"]) for one in skipped(runs[0])] == [
        ("unlabeled", "07"),
        ("unlabeled", "20"),
    ]
    for name in ("07.png", "20.png"):
        assert done.out.count(f"photographs/{name}") == 1, done.out  # though it is drawn twice
    assert "\x1b" not in (runs[0] / "skipped.jsonl").read_text()
    assert metrics(runs[0])[-1]["step"] == STEPS

    launch.ok("train_ssl", *workers, "--workers", 2)
    launch.start("train_ssl", *killed).killed_after(runs[2], 10)
    launch.ok("train_ssl", "--resume", "out/killed", "--workers", 2)
    group = run_group(launch, "train_ssl", *two)
    assert [one.code for one in group] == [0, 0], group
    for run in runs[1:]:
        assert skipped(run) == skipped(runs[0])
    for run in runs[1:3]:
        assert_same_run(runs[0], run, settings=False)
    # One more than may be ends both processes, whichever of them has read it.
    (folder / "30.png").write_bytes(b"")
    group = run_group(launch, "train_ssl", *arguments(config, "three", "--skip-bad"))
    assert [one.code for one in group] == [1, 1], group
    assert "3 of 40 images of the unlabeled stream" in group[0].err


@pytest.mark.parametrize("workers", [0, 1])
def test_the_first_ends_a_run_that_does_not_skip(
    workers: int, folder: Path, config: Path, launch: Launcher
) -> None:
    (folder / "20.png").unlink()
    done = launch("train_ssl", *arguments(config, "run", "--workers", workers))
    refused(done, "photographs/07.png", code=1)


def test_too_many_end_the_run(folder: Path, config: Path, launch: Launcher, tmp_path: Path) -> None:
    (folder / "30.png").write_bytes(b"")
    done = launch("train_ssl", *arguments(config, "run", "--skip-bad"))
    refused(done, "3 of 40 images of the unlabeled stream", "data.skip_bad_share", code=1)
    assert len(skipped(tmp_path / "out/run")) == 3
    # More may be allowed, and the run goes on from where it was saved.
    more = ("--set", "data.skip_bad_share=0.1", "--allow-changes")
    launch.ok("train_ssl", "--resume", "out/run", *more)


def test_damaged_labels_and_validation_images(
    config: Path, launch: Launcher, tmp_path: Path
) -> None:
    size = ("--images", 12, "--val-images", 3, "--size", "64x128")
    launch.ok("make_demo", "--out", "data", *size)
    label = sorted((tmp_path / "data/gtFine/train").rglob("*_labelIds.png"))[5]
    label.write_bytes(label.read_bytes()[:60])
    data = ("--dataset", "cityscapes", "--data-root", "data", "--labeled", "full")
    flags = ("--config", config, "--output", "out", *data)
    lenient = ("--skip-bad", "--data.skip_bad_share", 0.1)
    refuses("supervised", *flags, "--name", "strict", words=[label.name], code=1)
    launch.ok("train_supervised", *flags, "--name", "lenient", *lenient)
    (one,) = skipped(tmp_path / "out/lenient")
    assert one["stream"] == "labeled" and label.name in one["reason"]
    # Scores of a part of the validation split would be those of another split.
    image = next((tmp_path / "data/leftImg8bit/val").rglob("*.png"))
    image.write_bytes(b"")
    refuses("supervised", *flags, *lenient, "--name", "val", words=[image.name], code=1)
