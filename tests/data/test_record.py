"""What a run remembers of its data, compared with what is there."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from mixseg.data.layout import open_dataset
from mixseg.data.record import (
    FILE,
    check_digests,
    differences,
    digests,
    read_record,
    record_of_training,
    record_of_validation,
)
from tests.data.layouts import write_folder

NAMES = st.dictionaries(
    st.text(min_size=1, max_size=4), st.lists(st.integers(0, 9), min_size=2, max_size=2)
)


def record(val: dict[str, list[int]]) -> dict[str, object]:
    return {
        "classes": ["a", "b"],
        "label_ids": {"0": "a", "1": "b"},
        "source_ids": {"0": "a", "1": "b"},
        "val": val,
        "labeled": {},
        "unlabeled": [],
    }


@given(NAMES, NAMES)
def test_a_difference_is_found_exactly_where_there_is_one(
    before: dict[str, list[int]], after: dict[str, list[int]]
) -> None:
    old, new = record(before), record(after)
    for full in (old, None, new):  # whole, lost, and that of something else
        assert bool(differences(digests(old), new, full)) == (before != after)
    # A checkpoint holds it as JSON.
    assert not differences(json.loads(json.dumps(digests(old))), old)


def test_what_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path, "train")
    write_folder(tmp_path, "val", count=2)
    train, val = (open_dataset("folder", tmp_path, split) for split in ("train", "val"))
    ids = [sample.id for sample in train.samples]
    before = record_of_training(val, train, (0, 1), ids[2:])
    assert before["label_ids"] == {
        "0": "background",
        "7": "road",
        "11": "building",
        "255": "ignore",
    }
    assert before["val"]["day 0/frame.0"] == (
        (tmp_path / "labels/val/day 0/frame.0.png").stat().st_size
    )
    (tmp_path / "images/val/day 0/frame.0.png").unlink()
    (tmp_path / "labels/val/day 0/frame.0.png").unlink()
    now = record_of_validation(open_dataset("folder", tmp_path, "val"))
    (line,) = differences(digests(before), now, before)
    assert "validation images" in line
    assert "day 0/frame.0" in line
    (line,) = differences(digests(before), now)
    assert "2 -> 1" in line


def test_labels_of_a_target_are_named(tmp_path: Path) -> None:
    write_folder(tmp_path)
    train = open_dataset("folder", tmp_path, "train")
    before = record_of_training(train, train, (), [], train.samples[:2])
    assert "target" not in record_of_training(train, train, (), [])
    (tmp_path / FILE).write_text(json.dumps(before))
    assert read_record(tmp_path) == before
    now = record_of_training(train, train, (), [], train.samples[1:2])
    (line,) = differences(digests(before), now, before)
    assert line.startswith("labeled target images: 1 are gone (day 0/frame.0)")


def test_what_colors_mean_is_named(tmp_path: Path) -> None:
    names = "names: [a, b]\n"
    write_folder(tmp_path, "val", description=names + "palette: [[1, 1, 1], [2, 2, 2]]\n")
    before = record_of_validation(open_dataset("folder", tmp_path, "val"))
    for changed in (
        "palette: [[2, 2, 2], [1, 1, 1]]\n",
        "palette: [[1, 1, 1], [2, 2, 2]]\nignore: [[3, 3, 3], 255]\n",
    ):
        (tmp_path / "dataset.yaml").write_text(names + changed)
        (line,) = differences(
            digests(before), record_of_validation(open_dataset("folder", tmp_path, "val"))
        )
        assert line.startswith("label ids: [")


def test_a_run_of_an_earlier_version_knows_its_classes(tmp_path: Path) -> None:
    now = record({})
    assert not differences({"classes": ["a", "b"]}, now)  # type: ignore[arg-type]
    (line,) = differences({"classes": ["b", "a"]}, now)  # type: ignore[arg-type]
    assert line == "classes: b, a -> a, b"


def test_a_damaged_file_is_as_none(tmp_path: Path) -> None:
    whole = record({})
    damaged = ("{", "[]", "\x00", '{"val": {}}')
    for content in (*damaged, *(json.dumps({**whole, name: 5}) for name in ("classes", "val"))):
        (tmp_path / FILE).write_text(content)
        assert read_record(tmp_path) is None
    (tmp_path / FILE).write_text(json.dumps(whole))
    assert read_record(tmp_path) == whole


def test_what_cannot_be_compared_is_refused() -> None:
    now = record({"one": [1, 2]})
    for value in (None, 5, "x", [], [1], {}, {"count": 1}, {"7": None}):
        for name in ("classes", "label_ids", "source_ids", "val", "labeled"):
            forged: dict[str, object] = {**digests(now), name: value}
            try:
                check_digests(forged)
            except ValueError as error:
                assert name in str(error)
            else:
                assert differences(forged, now) is not None
