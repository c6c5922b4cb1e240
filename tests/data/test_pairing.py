"""Ids of files, whose names may differ in nothing but their ending, and their labels."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixseg.data.pairing import (
    IMAGE_ENDINGS,
    Folder,
    Pairing,
    pair_present,
    pair_samples,
    unique_ids,
)
from mixseg.errors import DataError

names = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["", "d/"]),
        st.sampled_from("ab"),
        st.sampled_from(["", ".png", ".jpg"]),
        st.sampled_from([".png", ".jpg", ".PNG", ".jpeg"]),
    ),
)


@settings(max_examples=100, deadline=None)
@given(st.sets(names))
def test_ids_differ_and_are_short_where_they_can_be(given_names: set[str]) -> None:
    found = unique_ids(given_names)
    assert set(found) == given_names and len(set(found.values())) == len(found)
    short = {name: name[: -len(Path(name).suffix)] for name in given_names}
    for name, key in found.items():
        assert key in (name, short[name])
        alone = all(name == one or short[name] not in (one, short[one]) for one in given_names)
        assert key == short[name] or not alone
    assert all(name.lower().endswith(IMAGE_ENDINGS) for name in given_names)


@pytest.mark.parametrize("pair", [pair_samples, pair_present])
def test_candidates_are_named(pair: Pairing) -> None:
    images = {"a.jpg": Path("i/a.jpg"), "a.png": Path("i/a.png"), "b": Path("i/b.jpg")}
    labels = {"a": Path("l/a.png"), "b": Path("l/b.png")}
    with pytest.raises(DataError) as raised:
        pair(images, labels, "l/*.png")
    assert all(str(path) in str(raised.value) for path in ("i/a.jpg", "i/a.png", "l/a.png"))
    labels = {"b.png": Path("l/b.png"), "b.PNG": Path("l/b.PNG")}
    with pytest.raises(DataError) as raised:
        pair({"b": images["b"]}, labels, "l/*.png")
    assert all(str(path) in str(raised.value) for path in ("i/b.jpg", "l/b.png", "l/b.PNG"))


def test_a_folder_is_listed_once(tmp_path: Path) -> None:
    for name in ("a.png", "a_label.PNG", "b.tif", "d/c.JPG", ".hidden/d.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    folder = Folder(tmp_path)
    assert set(folder.by_id(".png", ".jpg")) == {"a", "a_label", "d/c"}
    (tmp_path / "late.png").touch()
    assert folder.by_id("_label.png") == {"a": tmp_path / "a_label.PNG"}
    assert set(folder.by_id(".png")) == {"a", "a_label"}
    assert "passed over 1 .tif" in folder.passed_over()
    assert Folder(tmp_path / "nowhere").by_id(".png") == {}
