"""tools/predict.py on photographs of all kinds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixseg.data.cityscapes import CITYSCAPES
from tests.data.layouts import write_image
from tests.end_to_end.processes import RUN, Launcher, refuses_each, tree

SIZES = {"odd": (33, 47), "dot": (1, 1), "wide": (8, 200), "[red]tall[/red]": (90, 5)}


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    for name, size in SIZES.items():
        write_image(folder / "inner" / f"{name}.png", size=size)
    write_image(folder / "a b.JPG")
    return folder


def pictures(folder: Path) -> list[str]:
    return [name for name in tree(folder) if name.endswith(".png")]


def test_a_folder_with_a_broken_image(
    photographs: Path, reference: Path, launch: Launcher, tmp_path: Path
) -> None:
    whole = (photographs / "inner/odd.png").read_bytes()
    (photographs / "[bold]cut.png").write_bytes(whole[: len(whole) // 2])
    (photographs / "\x1b[31mtext.png").write_text("no picture")
    (photographs / "notes.txt").write_text("not named as one")
    done = launch("predict", reference, "photographs", "--output", "made")
    assert done.code == 1 and "Traceback" not in done.text, done.text
    skipped = sorted(line for line in done.out.splitlines() if line.startswith("skipped "))
    assert len(skipped) == 2 and "\x1b" not in done.text
    assert "photographs/[bold]cut.png" in skipped[0] and "text.png" in skipped[1]
    assert "5 of 7 images predicted into made" in done.out
    good = [*(f"inner/{name}" for name in SIZES), "a b"]
    kinds = ("colour", "ids", "overlay")
    assert pictures(tmp_path / "made") == sorted(f"{kind}/{n}.png" for kind in kinds for n in good)
    for name, size in SIZES.items():
        ids = np.array(Image.open(tmp_path / "made/ids/inner" / f"{name}.png"))
        assert ids.shape == size and ids.max() < len(CITYSCAPES)
        with Image.open(tmp_path / "made/colour/inner" / f"{name}.png") as image:
            assert (image.height, image.width, image.mode) == (*size, "RGB")


def test_files_formats_and_modes(
    photographs: Path, reference: Path, launch: Launcher, tmp_path: Path
) -> None:
    launch.ok(
        *("predict", reference / "checkpoints/best-student"),
        *(photographs / "a b.JPG", photographs / "inner/[red]tall[/red].png"),
        *("--output", "made", "--formats", "ids,overlay,label-ids"),
        *("--mode", "slide", "--window", "64x64", "--flip", "--scales", "0.5,1"),
    )
    files = pictures(tmp_path / "made")
    # The name of the second holds a slash of its own only as a file; that is its stem.
    assert len(files) == 6
    assert {name.split("/")[0] for name in files} == {"ids", "overlay", "label-ids"}
    ids, label_ids = (
        np.array(Image.open(tmp_path / f"made/{kind}/a b.png")) for kind in ("ids", "label-ids")
    )
    assert np.array_equal(label_ids, np.array(CITYSCAPES.label_ids)[ids])


def test_checkpoints_side_by_side(
    photographs: Path, reference: Path, launch: Launcher, tmp_path: Path
) -> None:
    (photographs / "cut.png").write_bytes(b"no picture")
    older = reference / "checkpoints/step-00000006"
    heights = []
    for folder, rows in (("made", ("--rows", 2)), ("more", ())):
        given = (reference, "photographs", "--compare", older, "--formats", "ids")
        done = launch("predict", *given, "--output", folder, *rows)
        assert done.code == 1 and "5 of 6 images predicted" in done.out, done.text
        with Image.open(tmp_path / folder / "comparison.png") as picture:
            heights.append(picture.height)
    assert 2 * 33 < heights[0] < heights[1]
    made = tmp_path / "made"
    assert len(pictures(made / "ids")) == 5
    assert pictures(made / "comparison") == pictures(made / "ids")
    # The photograph stands in its picture as it is.
    found = np.array(Image.open(made / "comparison/inner/wide.png"))
    own = np.array(Image.open(photographs / "inner/wide.png"))
    assert found.shape[1] > 3 * own.shape[1]
    windows = np.lib.stride_tricks.sliding_window_view(found, own.shape)
    assert (windows == own).all(axis=(-1, -2, -3)).sum() == 1


def test_the_size_for_the_network(
    config: Path, reference: Path, launch: Launcher, tmp_path: Path
) -> None:
    small = ("--iterations", 2, "--data.resize", "32x64")
    launch.ok("train_supervised", "--config", config, *small, *RUN)
    for name in ("a", "b"):
        write_image(tmp_path / f"in/{name}.png", size=(64, 64))

    def ids(folder: str, *arguments: object, notes: int = 0, run: object = "out/run") -> bytes:
        given = (run, "in", "--output", folder, "--formats", "ids", *arguments)
        done = launch.ok("predict", *given)
        assert done.out.count("note: ") == notes, done.out
        assert not notes or ("64x64" in done.out and "--resize none" in done.out)
        return b"".join(path.read_bytes() for path in sorted((tmp_path / folder).rglob("*.png")))

    # The run's own size pulls the photographs out of shape, which is said once.
    as_trained = ids("trained", notes=1)
    assert ids("same", "--resize", "32x64") == as_trained
    own = ids("own", "--resize", "none")
    assert own == ids("named", "--resize", "64x64") != as_trained
    # Another size of the same shape is not worth a word; nor is a run that keeps sizes.
    write_image(tmp_path / "in/a.png", size=(64, 124))
    write_image(tmp_path / "in/b.png", size=(128, 256))
    ids("fitting")
    ids("kept", run=reference)


def test_refusals(reference: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("mine")
    write_image(tmp_path / "in.png")
    usage = {
        "{run} in.png --output made --resize big": "--resize",
        "{run} in.png --output made --resize 0x9": "--resize",
        "{run} in.png --output full": "--output full",
        "{run} in.png --output made --formats gif": "--formats gif",
        "{run} in.png --output made --rows 3": "--rows 3",
        "{run} in.png --output made --compare {run} --rows 0": "--rows",
    }
    refuses_each("predict", usage, run=reference)
    others = {
        "{run} empty --output made": "empty",
        "{run} nowhere.png --output made": "nowhere.png",
        "{run} full/notes.txt --output made": "notes.txt",
        "nowhere in.png --output made": "nowhere",
        "{run} in.png --output made --compare {run} nowhere": "nowhere",
    }
    refuses_each("predict", others, code=1, run=reference)
    assert not (tmp_path / "made").exists()
