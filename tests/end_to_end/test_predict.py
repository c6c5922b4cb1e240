"""tools/predict.py on photographs of all kinds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixseg.data.cityscapes import CITYSCAPES
from tests.data.layouts import write_image
from tests.end_to_end.processes import Launcher, refused, tree

SIZES = {"odd": (33, 47), "dot": (1, 1), "wide": (8, 200), "[red]tall[/red]": (90, 5)}


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    for name, size in SIZES.items():
        write_image(folder / "inner" / f"{name}.png", size=size)
    write_image(folder / "a b.JPG")
    return folder


def test_a_folder_with_a_broken_image(
    photographs: Path, reference: Path, launch: Launcher, tmp_path: Path
) -> None:
    good = sorted(
        path.relative_to(photographs).with_suffix("").as_posix()
        for path in [*photographs.rglob("*.png"), *photographs.rglob("*.JPG")]
    )
    whole = (photographs / "inner" / "odd.png").read_bytes()
    (photographs / "[bold]cut.png").write_bytes(whole[: len(whole) // 2])
    (photographs / "text.png").write_text("no picture")
    (photographs / "notes.txt").write_text("not named as one")
    done = launch("predict", reference, "photographs", "--output", "made")
    assert done.code == 1, done.text
    assert "Traceback" not in done.text
    skipped = [line for line in done.out.splitlines() if line.startswith("skipped ")]
    assert len(skipped) == 2
    assert "photographs/[bold]cut.png" in skipped[0]
    assert "photographs/text.png" in skipped[1]
    assert "5 of 7 images predicted into made" in done.out
    files = [name for name in tree(tmp_path / "made") if name.endswith(".png")]
    kinds = ("colour", "ids", "overlay")
    assert files == sorted(f"{kind}/{name}.png" for kind in kinds for name in good)
    for name, size in SIZES.items():
        with Image.open(tmp_path / "made" / "ids" / "inner" / f"{name}.png") as image:
            ids = np.array(image)
        assert ids.shape == size
        assert ids.max() < 19
        with Image.open(tmp_path / "made" / "colour" / "inner" / f"{name}.png") as image:
            assert (image.height, image.width, image.mode) == (*size, "RGB")


def test_files_formats_and_modes(
    photographs: Path, reference: Path, launch: Launcher, tmp_path: Path
) -> None:
    done = launch.ok(
        "predict",
        reference / "checkpoints" / "best-student",
        *(photographs / "a b.JPG", photographs / "inner" / "[red]tall[/red].png"),
        *("--output", "made", "--formats", "ids,overlay,label-ids"),
        *("--mode", "slide", "--window", "64x64", "--flip", "--scales", "0.5,1"),
    )
    files = [name for name in tree(tmp_path / "made") if name.endswith(".png")]
    # The name of the second holds a slash of its own only as a file; that is its stem.
    assert len(files) == 6
    assert {name.split("/")[0] for name in files} == {"ids", "overlay", "label-ids"}
    ids, label_ids = (
        np.array(Image.open(tmp_path / "made" / kind / "a b.png")) for kind in ("ids", "label-ids")
    )
    assert np.array_equal(label_ids, np.array(CITYSCAPES.label_ids)[ids])


def test_names_cannot_control_the_terminal(
    reference: Path, launch: Launcher, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "\x1b[31mred.png").write_text("no picture")
    done = launch("predict", reference, "in", "--output", "made")
    assert done.code == 1
    assert "\x1b" not in done.text
    assert "red.png" in done.out


def test_checkpoints_side_by_side(
    photographs: Path, reference: Path, launch: Launcher, tmp_path: Path
) -> None:
    (photographs / "cut.png").write_bytes(b"no picture")
    older = reference / "checkpoints" / "step-00000006"
    done = launch(
        "predict",
        *(reference, "photographs", "--compare", older, "--rows", 2, "--output", "made"),
        *("--formats", "ids"),
    )
    assert done.code == 1, done.text
    assert "photographs/cut.png" in done.out and "5 of 6 images predicted" in done.out
    made = tmp_path / "made"
    ids = {path.relative_to(made / "ids") for path in (made / "ids").rglob("*.png")}
    pictures = {
        path.relative_to(made / "comparison") for path in (made / "comparison").rglob("*.png")
    }
    assert len(ids) == 5 and pictures == ids
    with Image.open(made / "comparison" / "inner" / "wide.png") as image:
        assert image.width > 3 * SIZES["wide"][1]
        # The photograph stands in it as it is.
        with Image.open(photographs / "inner" / "wide.png") as own:
            width, height = own.size
            found = np.array(image)
            windows = np.lib.stride_tricks.sliding_window_view(found, (height, width, 3))
            assert (windows == np.array(own)).all(axis=(-1, -2, -3)).sum() == 1
    with Image.open(made / "comparison.png") as two:
        assert two.height > 2 * 33
        shown = two.size
    done = launch(
        "predict",
        *(reference, "photographs", "--compare", older, "--output", "more"),
        *("--formats", "ids"),
    )
    with Image.open(tmp_path / "more" / "comparison.png") as five:
        assert five.height > shown[1]


def test_the_size_for_the_network(
    config: Path, reference: Path, launch: Launcher, tmp_path: Path
) -> None:
    steps = ("--iterations", 2, "--data.resize", "32x64", "--output", "out", "--name", "run")
    trained = launch.ok("train_supervised", "--config", config, *steps)
    run = tmp_path / "out" / "run"
    for name in ("a", "b"):
        write_image(tmp_path / "in" / f"{name}.png", size=(64, 64))

    def ids(folder: str, *arguments: object, said: int = 0) -> bytes:
        done = launch.ok(
            *("predict", run, "in", "--output", folder, "--formats", "ids", *arguments),
        )
        assert done.out.count("note: ") == said, done.out
        if said:
            assert "a is 64x64 and reaches the network as 32x64" in done.out
            assert "by 100 %" in done.out and "--resize none" in done.out
        return b"".join(path.read_bytes() for path in sorted((tmp_path / folder).rglob("*.png")))

    # The run's own size pulls the photographs out of shape, which is said once.
    as_trained = ids("trained", said=1)
    assert ids("same", "--resize", "32x64") == as_trained
    own = ids("own", "--resize", "none")
    assert own == ids("named", "--resize", "64x64") != as_trained
    # Another size of the same shape is not worth a word; nor is a run that keeps sizes.
    write_image(tmp_path / "in" / "a.png", size=(64, 124))
    write_image(tmp_path / "in" / "b.png", size=(128, 256))
    ids("fitting")
    run = reference
    ids("kept")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["RUN", "in.png", "--output", "made", "--resize", "big"], 2, "--resize: expected"),
        (["RUN", "in.png", "--output", "made", "--resize", "0x9"], 2, "--resize: expected"),
        (["RUN", "empty", "--output", "made"], 1, "empty: holds no image"),
        (["RUN", "nowhere.png", "--output", "made"], 1, "nowhere.png: no such file"),
        (["RUN", "full/notes.txt", "--output", "made"], 1, "notes.txt: is not an image"),
        (["nowhere", "in.png", "--output", "made"], 1, "nowhere: is not a folder"),
        (["RUN", "in.png", "--output", "full"], 2, "--output full: exists and is not empty"),
        (["RUN", "in.png", "--output", "made", "--formats", "gif"], 2, "--formats gif"),
        (["RUN", "in.png"], 2, "output"),
        (
            ["RUN", "in.png", "--output", "made", "--compare", "RUN", "nowhere"],
            1,
            "nowhere: is not a folder",
        ),
        (["RUN", "empty", "--output", "made", "--compare", "RUN"], 1, "empty: holds no image"),
        (["RUN", "in.png", "--output", "made", "--rows", "3"], 2, "--rows 3"),
        (["RUN", "in.png", "--output", "made", "--compare", "RUN", "--rows", "0"], 2, "--rows: "),
    ],
)
def test_refusals(
    arguments: list[str],
    code: int,
    message: str,
    reference: Path,
    launch: Launcher,
    tmp_path: Path,
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    write_image(tmp_path / "in.png")
    arguments = [argument.replace("RUN", str(reference)) for argument in arguments]
    refused(launch("predict", *arguments), message, code=code)
    assert not (tmp_path / "made").exists()
    assert (tmp_path / "full" / "notes.txt").read_text() == "mine"
