from __future__ import annotations

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
from mixseg.evaluation.prediction import (
    Predictor,
    collect_images,
    predict_files,
    save_prediction,
)
from tests.data.layouts import write_turned
from tests.evaluation.toys import CLASSES, Brightest, PerPixel, picture, random_labels


def write_picture(path: Path, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(labels)).save(path)
    return labels


def names(images: list[tuple[Path, str]]) -> list[str]:
    return [name for _, name in images]


def read(path: Path) -> NDArray[np.uint8]:
    return np.array(Image.open(path))


def test_folders_are_searched_in_order(tmp_path: Path) -> None:
    for name in ["b/z.PNG", "b/a.jpeg", "a/x.jpg", "note.txt", ".hidden/h.png", "._a.jpg"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert names(collect_images([tmp_path])) == ["a/x", "b/a", "b/z"]
    assert names(collect_images([tmp_path / "b/z.PNG", tmp_path / "a"])) == ["z", "x"]


def test_names_never_collide(tmp_path: Path) -> None:
    files = ["one/x.png", "one/x.jpg", "two/x.png", "three/x.png", "three/X.jpg"]
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    images = collect_images([tmp_path / "one", tmp_path / "two", tmp_path / "three"])
    found = names(images)
    assert [str(path.relative_to(tmp_path)) for path, _ in images] == [
        "one/x.jpg",
        "one/x.png",
        "two/x.png",
        "three/X.jpg",
        "three/x.png",
    ]
    assert found == ["x", "x.png", "x (2)", "X.jpg", "x (3)"]


def test_an_image_given_twice_is_predicted_once(tmp_path: Path) -> None:
    (tmp_path / "x.png").touch()
    assert names(collect_images([tmp_path / "x.png", tmp_path])) == ["x"]


def test_paths_that_lead_nowhere_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.txt").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"missing\.png: no such file"):
        collect_images([tmp_path / "missing.png"])
    with pytest.raises(DataError, match="empty: holds no image"):
        collect_images([tmp_path / "empty"])
    with pytest.raises(DataError, match=r"text\.txt: is not an image"):
        collect_images([tmp_path / "text.txt"])


@pytest.mark.parametrize("size", [(1, 1), (3, 700), (45, 2), (32, 32)])
def test_any_size_keeps_its_size(tmp_path: Path, size: tuple[int, int]) -> None:
    labels = write_picture(tmp_path / "in/a.png", random_labels(0, *size, ignore=False))
    out = tmp_path / "out"
    assert predict_files(Predictor(Brightest(), CLASSES), [tmp_path / "in"], out) == []
    np.testing.assert_array_equal(read(out / "ids/a.png"), labels)
    np.testing.assert_array_equal(
        read(out / "colour/a.png"), np.array(CLASSES.palette, np.uint8)[labels]
    )
    overlay = read(out / "overlay/a.png")
    assert overlay.shape[0] > size[0]
    assert overlay.shape[1] >= size[1]


def test_input_size_and_mode_reach_the_model(tmp_path: Path) -> None:
    shapes = []

    class Spy(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            shapes.append(tuple(images.shape))
            return images

    write_picture(tmp_path / "a.png", random_labels(0, 9, 17))
    predict_files(
        Predictor(Spy(), CLASSES, (8, 12), InferenceMode(slide=(8, 6), stride=1)),
        [tmp_path / "a.png"],
        tmp_path / "out",
        formats=["ids"],
    )
    assert shapes == [(1, 3, 8, 6)] * 2
    assert read(tmp_path / "out/ids/a.png").shape == (9, 17)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["ids"]


def test_broken_images_are_skipped_and_named(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write_picture(folder / "a.png", random_labels(0, 4, 4))
    (folder / "b.jpg").write_bytes(b"not an image")
    whole = (folder / "a.png").read_bytes()
    (folder / "c.png").write_bytes(whole[: len(whole) // 2])
    write_picture(folder / "d.png", random_labels(1, 4, 4))
    progress = []
    failures = predict_files(
        Predictor(Brightest(), CLASSES),
        [folder],
        tmp_path / "out",
        on_progress=lambda done, total: progress.append((done, total)),
    )
    assert [failure.path.name for failure in failures] == ["b.jpg", "c.png"]
    assert all(str(failure.path) in failure.reason for failure in failures)
    assert progress == [(1, 4), (2, 4), (3, 4), (4, 4)]
    for kind in ["ids", "colour", "overlay"]:
        written = sorted(path.name for path in (tmp_path / "out" / kind).iterdir())
        assert written == ["a.png", "d.png"]


def test_too_many_pixels_are_refused_by_the_header(tmp_path: Path) -> None:
    Image.new("1", (15000, 15000)).save(tmp_path / "huge.png")
    failures = predict_files(
        Predictor(Brightest(), CLASSES), [tmp_path / "huge.png"], tmp_path / "out"
    )
    assert len(failures) == 1
    assert "too large" in failures[0].reason


def test_an_image_that_exhausts_the_memory_is_skipped(tmp_path: Path) -> None:
    class Hungry(Brightest):
        def forward(self, images: Tensor) -> Tensor:
            if images.shape[-1] > 4:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().forward(images)

    write_picture(tmp_path / "in/a.png", random_labels(0, 4, 9))
    write_picture(tmp_path / "in/b.png", random_labels(0, 4, 4))
    failures = predict_files(Predictor(Hungry(), CLASSES), [tmp_path / "in"], tmp_path / "out")
    assert [failure.path.name for failure in failures] == ["a.png"]
    # What it says to do are flags of the command.
    assert "--resize HEIGHTxWIDTH" in failures[0].reason
    assert "--mode slide --window HEIGHTxWIDTH" in failures[0].reason
    assert (tmp_path / "out/ids/b.png").exists()


def test_a_network_of_other_classes_stops_the_prediction(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", random_labels(0, 4, 4))
    with pytest.raises(DataError, match="tells 5 classes apart but the data has 3"):
        predict_files(
            Predictor(PerPixel(num_classes=5), CLASSES), [tmp_path / "a.png"], tmp_path / "out"
        )


def test_photographs_are_turned_upright(tmp_path: Path) -> None:
    upright = picture(random_labels(0, 5, 8, ignore=False))
    path = tmp_path / "photo.png"
    write_turned(path, upright, 6)
    assert predict_files(Predictor(Brightest(), CLASSES), [path], tmp_path / "out") == []
    np.testing.assert_array_equal(read(tmp_path / "out/ids/photo.png"), upright.argmax(-1))


def test_strange_names_are_only_names(tmp_path: Path) -> None:
    name = "[red]x\x1b[31m\n"
    write_picture(tmp_path / f"in/{name}.png", random_labels(0, 4, 4))
    assert predict_files(Predictor(Brightest(), CLASSES), [tmp_path / "in"], tmp_path / "out") == []
    assert (tmp_path / f"out/ids/{name}.png").exists()


def test_a_second_run_does_not_predict_the_results_of_the_first(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", random_labels(0, 4, 4))
    for _ in range(2):
        predict_files(Predictor(Brightest(), CLASSES), [tmp_path], tmp_path / "out")
    written = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.png"))
    assert written == ["a.png", "out/colour/a.png", "out/ids/a.png", "out/overlay/a.png"]


def test_an_unknown_format_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'colour'"):
        predict_files(
            Predictor(Brightest(), CLASSES), [tmp_path], tmp_path / "o", formats=["color"]
        )
    with pytest.raises(ConfigError, match="Did you mean 'train-ids'"):
        save_prediction(tmp_path / "x.png", np.zeros((1, 1), np.uint8), "train_ids", CLASSES)


def test_an_output_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", random_labels(0, 4, 4))
    (tmp_path / "out").write_text("a file")
    with pytest.raises(DataError, match=r"out.*cannot be made"):
        predict_files(Predictor(Brightest(), CLASSES), [tmp_path / "a.png"], tmp_path / "out")


def test_a_file_that_cannot_be_written_ends_the_run(tmp_path: Path) -> None:
    for name in "abc":
        write_picture(tmp_path / f"in/{name}.png", random_labels(0, 4, 4))
    (tmp_path / "out/overlay/b.png").mkdir(parents=True)  # where a file is to go
    with pytest.raises(DataError, match=r"out/overlay/b\.png: cannot be written"):
        predict_files(Predictor(Brightest(), CLASSES), [tmp_path / "in"], tmp_path / "out")
    assert (tmp_path / "out/ids/a.png").exists()
    assert not [*(tmp_path / "out").rglob("*.tmp")]


def test_predictions_of_a_data_set_in_each_format(tmp_path: Path) -> None:
    labels = np.array([[0, 1, 2, 255]], dtype=np.uint8)
    for format, expected in {
        "train-ids": [0, 1, 2, 255],
        "label-ids": [7, 23, 21, 0],
        "colour": [*map(list, CLASSES.palette), [0, 0, 0]],
    }.items():
        path = tmp_path / format / "x.png"
        save_prediction(path, labels, format, CLASSES)
        assert read(path)[0].tolist() == expected


def test_ignore_never_becomes_a_class(tmp_path: Path) -> None:
    labels = np.array([[0, 1, 255]], dtype=np.uint8)
    palette = ((0, 0, 0), (1, 1, 1))
    for classes, expected in [
        (ClassSet(("a", "b"), palette), [0, 1, 255]),
        (ClassSet(("a", "b"), palette, label_ids=(3, 0)), [3, 0, 255]),
    ]:
        save_prediction(tmp_path / "x.png", labels, "label-ids", classes)
        assert read(tmp_path / "x.png")[0].tolist() == expected
