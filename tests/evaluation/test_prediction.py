from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from mixseg.data.contract import ClassSet
from mixseg.errors import ConfigError, DataError
from mixseg.evaluation.inference import InferenceMode
from mixseg.evaluation.pictures import ENCODINGS
from mixseg.evaluation.prediction import (
    WAITING_PIXELS,
    Failure,
    Predictor,
    collect_images,
    picture_writer,
    predict_files,
)
from tests.data.layouts import write_turned
from tests.evaluation.toys import CLASSES, Brightest, PerPixel, picture, random_labels

KINDS = ("colour", "ids", "overlay")


def write_photograph(path: Path, *size: int) -> NDArray[np.uint8]:
    labels = random_labels(0, *size, ignore=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(labels)).save(path)
    return labels


def predicted(
    tmp_path: Path, *paths: Path, model: nn.Module | None = None, **how: object
) -> list[Failure]:
    """Predict into ``out``; by default what lies in ``in``."""
    predictor = Predictor(model or Brightest(), CLASSES)
    return predict_files(predictor, paths or [tmp_path / "in"], tmp_path / "out", **how)


def read(path: Path) -> NDArray[np.uint8]:
    return np.array(Image.open(path))


def touch(folder: Path, *files: str) -> None:
    for name in files:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()


def test_folders_are_searched_in_order(tmp_path: Path) -> None:
    touch(tmp_path, "b/z.PNG", "b/a.jpeg", "a/x.jpg", "note.txt", ".hidden/h.png", "._a.jpg")
    (tmp_path / "empty").mkdir()
    for given, expected in (
        (".", ["a/x", "b/a", "b/z"]),
        ("b/z.PNG a", ["z", "x"]),
        ("b/z.PNG b", ["z", "a"]),  # an image that is given twice is predicted once
    ):
        images = collect_images([tmp_path / name for name in given.split()])
        assert [name for _, name in images] == expected
    for name in ("missing.png", "empty", "note.txt"):
        with pytest.raises(DataError, match=f"{name}: "):
            collect_images([tmp_path / name])


def test_names_never_collide(tmp_path: Path) -> None:
    touch(tmp_path, "one/x.png", "one/x.jpg", "two/x.png", "three/x.png", "three/X.jpg")
    images = collect_images([tmp_path / "one", tmp_path / "two", tmp_path / "three"])
    assert {str(path.relative_to(tmp_path)): name for path, name in images} == {
        "one/x.jpg": "x",
        "one/x.png": "x.png",
        "two/x.png": "x (2)",
        "three/X.jpg": "X.jpg",
        "three/x.png": "x (3)",
    }


def test_photographs_keep_their_size_and_are_turned_upright(tmp_path: Path) -> None:
    shown = {
        f"{height}x{width}": write_photograph(tmp_path / f"in/{height}x{width}.png", height, width)
        for height, width in ((1, 1), (3, 700), (45, 2))
    }
    upright = random_labels(0, 5, 8, ignore=False)
    write_turned(tmp_path / "in/turned.png", picture(upright), 6)
    assert predicted(tmp_path) == []
    palette = np.array(CLASSES.palette, np.uint8)
    for name, labels in {**shown, "turned": upright}.items():
        ids, colors, overlay = (
            read(tmp_path / "out" / kind / f"{name}.png") for kind in ("ids", "colour", "overlay")
        )
        np.testing.assert_array_equal(ids, labels)
        np.testing.assert_array_equal(colors, palette[labels])
        assert overlay.shape[0] > labels.shape[0] and overlay.shape[1] >= labels.shape[1]


def test_input_size_and_mode_reach_the_model(tmp_path: Path) -> None:
    shapes: list[tuple[int, ...]] = []
    network = nn.Identity()
    network.register_forward_hook(lambda module, given, images: shapes.append(tuple(images.shape)))
    write_photograph(tmp_path / "a.png", 9, 17)
    predictor = Predictor(network, CLASSES, (8, 12), InferenceMode(slide=(8, 6), stride=1))
    predict_files(predictor, [tmp_path / "a.png"], tmp_path / "out", formats=["ids"])
    assert shapes == [(1, 3, 8, 6)] * 2
    assert read(tmp_path / "out/ids/a.png").shape == (9, 17)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["ids"]
    # What a run has written is not predicted by the next one.
    predict_files(predictor, [tmp_path], tmp_path / "out", formats=["ids"])
    assert {path.name for path in tmp_path.rglob("*.png")} == {"a.png"} and len(shapes) == 4


def test_images_that_are_skipped(tmp_path: Path) -> None:
    class Hungry(Brightest):
        def forward(self, images: Tensor) -> Tensor:
            if images.shape[-1] > 4:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().forward(images)

    folder = tmp_path / "in"
    for name, width in (("a", 4), ("[red]x\x1b[31m\n", 4), ("large", 9)):
        write_photograph(folder / f"{name}.png", 4, width)
    (folder / "b.jpg").write_bytes(b"not an image")
    (folder / "c.png").write_bytes((folder / "a.png").read_bytes()[:-40])
    Image.new("1", (15000, 15000)).save(folder / "huge.png")
    progress = []
    failures = predicted(tmp_path, model=Hungry(), on_progress=lambda *done: progress.append(done))
    found = {failure.path.name: failure.reason for failure in failures}
    assert [*found] == ["b.jpg", "c.png", "huge.png", "large.png"]
    assert all(str(folder / name) in reason for name, reason in found.items())
    assert "too large" in found["huge.png"]
    # What it says to do are flags of the command.
    assert "--resize HEIGHTxWIDTH" in found["large.png"] and "--window" in found["large.png"]
    assert progress == [(done, 6) for done in range(1, 7)]
    for kind in KINDS:
        written = {path.name for path in (tmp_path / "out" / kind).iterdir()}
        assert written == {"a.png", "[red]x\x1b[31m\n.png"}


def test_what_ends_a_prediction(tmp_path: Path) -> None:
    for name in "abc":
        write_photograph(tmp_path / f"in/{name}.png", 4, 4)
    with pytest.raises(ConfigError, match="'colour'"):
        predicted(tmp_path, formats=["color"])
    with pytest.raises(DataError, match="5 classes"):
        predicted(tmp_path, model=PerPixel(num_classes=5))
    (tmp_path / "out/overlay/b.png").mkdir(parents=True)  # where a file is to go
    with pytest.raises(DataError, match=r"out/overlay/b\.png: cannot be written"):
        predicted(tmp_path)
    assert (tmp_path / "out/ids/a.png").exists()
    assert not [*(tmp_path / "out").rglob("*.tmp")]
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"file.*cannot be made"):
        predict_files(Predictor(Brightest(), CLASSES), [tmp_path / "in"], tmp_path / "file")


def test_encodings() -> None:
    labels = np.array([[0, 1, 2, 255]], dtype=np.uint8)
    found = {name: encode(labels, CLASSES)[0].tolist() for name, encode in ENCODINGS.items()}
    assert found == {
        "ids": [0, 1, 2, 255],
        "label-ids": [7, 23, 21, 0],
        "colour": [*map(list, CLASSES.palette), [0, 0, 0]],
    }
    # What is ignored never becomes a class.
    palette = ((0, 0, 0), (1, 1, 1), (2, 2, 2))
    for ids, expected in (((), [0, 1, 2, 255]), ((3, 0, 4), [3, 0, 4, 255])):
        classes = ClassSet(("a", "b", "c"), palette, label_ids=ids)
        assert ENCODINGS["label-ids"](labels, classes)[0].tolist() == expected


class TestWriter:
    def test_work_goes_on_beside_the_block_and_is_done_at_its_end(self) -> None:
        done: list[int] = []
        released = threading.Event()

        def waiting() -> None:
            assert released.wait(30), "the block waits for its work"

        with picture_writer(3) as write:
            write(1, [waiting])
            released.set()  # would not be reached if the call waited
            for index in range(20):
                write(1, [lambda index=index: done.append(2 * index), lambda: done.append(1)])
        assert sorted(one for one in done if one != 1) == [*range(0, 40, 2)]
        assert done.count(1) == 20

    def test_no_more_waits_than_fits(self) -> None:
        at_once = most = 0
        lock, three = threading.Lock(), threading.Event()

        def work() -> None:
            nonlocal at_once
            time.sleep(0.01)
            three.wait(30)
            with lock:
                at_once -= 1

        with picture_writer(2) as write:
            for _ in range(6):
                with lock:
                    at_once += 1
                    most = max(most, at_once)
                    if at_once == 3:
                        threading.Timer(0.05, three.set).start()
                write(WAITING_PIXELS // 2, [work])
        # Two fit, and one is held by the caller until there is room.
        assert most == 3 and at_once == 0
        done: list[int] = []
        with picture_writer(2) as write:
            write(10 * WAITING_PIXELS, [lambda: done.append(0)])
            write(10 * WAITING_PIXELS, [lambda: done.append(1)])
            assert done[:1] == [0]  # what is larger than that is alone
        assert done == [0, 1]

    def test_errors(self) -> None:
        def failing(message: str, after: float = 0.0) -> Callable[[], None]:
            def work() -> None:
                time.sleep(after)
                raise DataError(message)

            return work

        with pytest.raises(DataError, match="first"), picture_writer(2) as write:
            write(1, [failing("first", after=0.05)])
            write(1, [failing("second")])
        handed_in = 0
        with pytest.raises(DataError, match="disk"), picture_writer(1) as write:
            for _ in range(1000):
                write(1, [failing("disk")])
                handed_in += 1
                time.sleep(0.01)
        assert handed_in < 1000, "an error comes before the end of the block"
        begun: list[int] = []

        def slow(index: int) -> None:
            begun.append(index)
            time.sleep(0.05)

        with pytest.raises(KeyError), picture_writer(1) as write:
            for index in range(50):
                write(1, [lambda index=index: slow(index)])
            raise KeyError
        assert len(begun) < 50, "what has not begun is left out"
