"""How often classes occur, counted and read."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from mixseg.data.camvid import CAMVID
from mixseg.data.layout import open_dataset
from mixseg.data.statistics import (
    class_frequencies,
    frequencies_of,
    read_frequencies,
)
from mixseg.errors import DataError
from tests.data.layouts import SIZE, write_camvid, write_label


def test_counts_are_shares_of_labelled_pixels(tmp_path: Path) -> None:
    write_camvid(tmp_path)
    for index, path in enumerate(sorted((tmp_path / "trainannot").iterdir())):
        ids = np.full(SIZE, 11, dtype=np.uint8)
        ids[: index + 1] = 3
        ids[-1] = 5
        write_label(path, ids)
    opened = open_dataset("camvid", tmp_path, "train")
    found = class_frequencies(opened, range(4), cache=tmp_path)
    rows = 1 + 2 + 3 + 4
    assert found[3] == pytest.approx(rows / (rows + 4))
    assert found[5] == pytest.approx(4 / (rows + 4))
    assert found.sum() == pytest.approx(1)
    # Of a large set a spread is read, first and last among it.
    assert class_frequencies(opened, range(4), limit=2, cache=tmp_path)[3] == pytest.approx(5 / 7)
    for path in (tmp_path / "trainannot").iterdir():
        write_label(path, np.full(SIZE, 11, dtype=np.uint8))
    with pytest.raises(DataError, match="no labelled pixel"):
        class_frequencies(opened, range(4), cache=tmp_path)


def test_what_cannot_be_read_is_no_share(tmp_path: Path) -> None:
    write_camvid(tmp_path)
    opened = open_dataset("camvid", tmp_path, "train")
    label = opened.samples[2].label
    assert label is not None
    label.write_bytes(label.read_bytes()[:40])
    with pytest.raises(DataError, match=label.name):
        class_frequencies(opened, range(4), cache=tmp_path)
    bare = dataclasses.replace(
        opened, samples=tuple(dataclasses.replace(one, label=None) for one in opened.samples)
    )
    with pytest.raises(DataError, match="has no label file"):
        class_frequencies(bare, range(4), cache=tmp_path)


def test_files_are_normalised(tmp_path: Path) -> None:
    path = tmp_path / "shares.yaml"
    path.write_text("".join(f"{name}: {number}\n" for number, name in enumerate(CAMVID.names)))
    np.testing.assert_allclose(read_frequencies(path, CAMVID), np.arange(11) / 55)


@pytest.mark.parametrize(
    ("first", "problem"),
    [
        ("sky: -1", r"line 1: -1 is not a share"),
        ("sky: .nan", r"line 1: nan is not a share"),
        ("sky: 1" + 300 * "0", r"line 1: 10+ is not a share"),
        ("sky: 1.0e+308", r"line 1: 1e\+308 is not a share"),
        ("sky: .inf", r"line 1: inf is not a share"),
        ("sky: yes", "line 1: yes is not a share"),
        ("skye: 1", r"line 1: unknown class 'skye'.*'sky'"),
        ("sky: 0", "all shares are 0"),
    ],
)
def test_bad_files(tmp_path: Path, first: str, problem: str) -> None:
    path = tmp_path / "shares.yaml"
    path.write_text("\n".join([first, *(f"{name}: 0" for name in CAMVID.names[1:])]))
    with pytest.raises(DataError, match=rf"shares\.yaml.*({problem})"):
        read_frequencies(path, CAMVID)


def test_every_class_must_be_named(tmp_path: Path) -> None:
    path = tmp_path / "shares.yaml"
    path.write_text("sky: 1\n")
    with pytest.raises(DataError, match="says nothing of building, pole"):
        read_frequencies(path, CAMVID)


def test_given_shares() -> None:
    given = dict.fromkeys(CAMVID.names, 2.0)
    np.testing.assert_allclose(frequencies_of(given, CAMVID, "here"), np.full(11, 1 / 11))
    with pytest.raises(DataError, match=r"here: unknown class 'skye'.*'sky'"):
        frequencies_of(given | {"skye": 1.0}, CAMVID, "here")
    with pytest.raises(DataError, match="here: says nothing of sky"):
        frequencies_of(dict.fromkeys(CAMVID.names[1:], 1.0), CAMVID, "here")
    with pytest.raises(DataError, match="here: sky: -1"):
        frequencies_of(given | {"sky": -1.0}, CAMVID, "here")
