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
    refused_saying,
    run_group,
)

IMAGES = 40
STEPS = 24
"""Two images each: all are drawn, and some twice."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Unlabelled photographs, of which two are damaged: 5 %, as many as may be."""
    root = tmp_path / "photographs"
    for number in range(IMAGES):
        write_image(root / f"{number:02}.png", number, (64, 128))
    (root / "07.png").write_bytes((root / "07.png").read_bytes()[:-100])
    (root / "20.png").write_text("\x1b[31mno picture")
    return root


@pytest.fixture
def city(launch: Launcher, tmp_path: Path) -> Path:
    """Labelled images in the layout of Cityscapes, all of them good."""
    size = ("--images", 12, "--val-images", 3, "--size", "64x128")
    launch.ok("make_demo", "--out", "data", *size)
    return tmp_path / "data"


def arguments(config: Path, folder: Path, name: str, *more: object) -> tuple[object, ...]:
    return (
        *("--config", config, "--output", "out", "--name", name, "--unlabeled", folder),
        *("--iterations", STEPS, "--set", "validation.every=0", "--skip-bad", *more),
    )


def skipped(run: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (run / "skipped.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_what_is_drawn_does_not_depend_on_workers_and_kills(
    folder: Path, config: Path, launch: Launcher, tmp_path: Path
) -> None:
    runs = [tmp_path / "out" / name for name in ("plain", "workers", "killed")]
    plain = launch.ok("train_ssl", *arguments(config, folder, "plain"))
    assert [(one["stream"], one["id"]) for one in skipped(runs[0])] == [
        ("unlabeled", "07"),
        ("unlabeled", "20"),
    ]
    for name in ("07.png", "20.png"):
        assert plain.out.count(str(folder / name)) == 1, plain.out  # though it is drawn twice
    assert "\x1b" not in (runs[0] / "skipped.jsonl").read_text()
    assert metrics(runs[0])[-1]["step"] == STEPS

    launch.ok("train_ssl", *arguments(config, folder, "workers", "--workers", 2))
    launch.start("train_ssl", *arguments(config, folder, "killed")).killed_after(runs[2], 10)
    launch.ok("train_ssl", "--resume", "out/killed", "--workers", 2)
    for run in runs[1:]:
        assert skipped(run) == skipped(runs[0])
        summary = run / "summary.json"
        assert summary.is_file()
    assert_same_run(runs[0], runs[1], settings=False)
    assert_same_run(runs[0], runs[2], settings=False)


@pytest.mark.slow
def test_several_processes_know_of_the_same(
    folder: Path, config: Path, launch: Launcher, tmp_path: Path
) -> None:
    launch.ok("train_ssl", *arguments(config, folder, "alone"))
    done = run_group(launch, "train_ssl", *arguments(config, folder, "two"))
    assert [one.code for one in done] == [0, 0], done
    assert skipped(tmp_path / "out" / "two") == skipped(tmp_path / "out" / "alone")
    # One more than may be ends both, whichever of them has read it.
    (folder / "30.png").write_bytes(b"")
    done = run_group(launch, "train_ssl", *arguments(config, folder, "three"))
    assert [one.code for one in done] == [1, 1], done
    assert "3 of 40 images of the unlabeled stream cannot be read" in done[0].err


@pytest.mark.parametrize("workers", [0, 1])
def test_the_first_ends_a_run_that_does_not_skip(
    workers: int, folder: Path, config: Path, launch: Launcher
) -> None:
    (folder / "20.png").unlink()
    given = [one for one in arguments(config, folder, "run") if one != "--skip-bad"]
    done = launch("train_ssl", *given, "--workers", workers)
    refused(done, str(folder / "07.png"), code=1)


def test_too_many_end_the_run(folder: Path, config: Path, launch: Launcher, tmp_path: Path) -> None:
    (folder / "30.png").write_bytes(b"")
    done = launch("train_ssl", *arguments(config, folder, "run"))
    refused(
        done,
        "3 of 40 images of the unlabeled stream cannot be read",
        "data.skip_bad_share 0.05",
        "skipped.jsonl",
        "check-data",
        code=1,
    )
    assert len(skipped(tmp_path / "out" / "run")) == 3
    # More may be allowed, and the run goes on from where it was saved.
    more = ("--set", "data.skip_bad_share=0.1", "--allow-changes")
    launch.ok("train_ssl", "--resume", "out/run", *more)


def test_damaged_labels_and_validation_images(
    city: Path, config: Path, launch: Launcher, tmp_path: Path
) -> None:
    label = sorted((city / "gtFine" / "train").rglob("*_labelIds.png"))[5]
    label.write_bytes(label.read_bytes()[:60])
    common = ("--config", config, "--output", "out", "--data-root", "data", "--labeled", "full")
    flags = (*common, "--dataset", "cityscapes", "--iterations", 8)
    lenient = ("--skip-bad", "--set", "data.skip_bad_share=0.1")
    refused_saying("supervised", *flags, "--name", "strict", words=[label.name], code=1)
    launch.ok("train_supervised", *flags, "--name", "lenient", *lenient)
    (one,) = skipped(tmp_path / "out" / "lenient")
    assert one["stream"] == "labeled"
    assert str(label.name) in one["reason"]
    # Scores of a part of the validation split would be those of another split.
    image = next((city / "leftImg8bit" / "val").rglob("*.png"))
    image.write_bytes(b"")
    refused_saying("supervised", *flags, *lenient, "--name", "val", words=[image.name], code=1)
    assert not (tmp_path / "out/val").exists()
