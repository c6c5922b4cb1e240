from __future__ import annotations

import json
import pickle
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixseg.data.contract import ClassSet, Sample, SegmentationDataset, lookup_table
from mixseg.data.images import read_image, read_index_png
from mixseg.data.layout import open_dataset
from mixseg.data.splits import hold_out, labeled_count, split_labeled, write_split
from mixseg.errors import DataError
from tests.data.layouts import write_camvid

IDS = [f"city/{index:04d}" for index in range(100)]

ids_lists = st.lists(st.text("ab/01 ", min_size=1), min_size=1, max_size=60, unique=True)
fractions = st.integers(1, 40).flatmap(
    lambda denominator: st.integers(1, denominator).map(lambda n: f"{n}/{denominator}")
)
seeds = st.integers(0, 2**32)


def test_counts_of_the_papers() -> None:
    cityscapes = {"1/30": 100, "1/8": 372, "1/2": 1488, "0.125": 372, "372": 372, "1": 1}
    cityscapes |= dict.fromkeys(("2975", "1/1", "full"), 2975)
    for total, counts in (
        (2975, cityscapes),
        (10582, {"1/100": 106, "1/8": 1323}),
        (100, {"0.07": 7, "7/100": 7, ".5": 50, "1/1000": 1}),
    ):
        assert {size: labeled_count(size, total) for size in counts} == counts


def test_refused_specs() -> None:
    for spec in (
        *("0", "-5", "+5", "101", "1/0", "0/8", "8/1", "-1/8", "1/", "/8", "1/8/2"),
        *("0.0", "1.0", "1.5", "1e-1", "nan", "9" * 5000, "1/" + "9" * 5000),
        *("abc", "", " ", "list\0", "a.txt,b.txt,c.txt"),
        *("p.pkl", "p.pkl@", "p.pkl@0", "p.pkl@abc"),
    ):
        with pytest.raises(DataError, match=r"expected|say how many"):
            split_labeled(IDS, spec, 0)
    for spec in ("0", "101", "1/0", "6/5", "full", "abc", "", "p.pkl@1/8", "a.txt,b.txt"):
        with pytest.raises(DataError, match=r"data\.val.*expected"):
            held(dataset_of(IDS), spec)
    with pytest.raises(DataError, match="-1 is negative"):
        split_labeled(IDS, "1/8", -1)
    with pytest.raises(DataError, match="differ"):
        split_labeled(["a", "a"], "1/8", 0)


@given(ids=ids_lists, spec=fractions, seed=seeds, data=st.data())
def test_disjoint_complete_and_independent_of_file_order(
    ids: list[str], spec: str, seed: int, data: st.DataObject
) -> None:
    split = split_labeled(ids, spec, seed)
    assert sorted(split.labeled + split.unlabeled) == list(range(len(ids)))
    assert len(split.labeled) == labeled_count(spec, len(ids))
    assert list(split.labeled) == sorted(split.labeled)
    assert split_labeled(data.draw(st.permutations(ids)), spec, seed) == split


@given(ids=ids_lists, specs=st.tuples(fractions, fractions), seed=seeds)
def test_nested(ids: list[str], specs: tuple[str, str], seed: int) -> None:
    small, large = sorted((set(split_labeled(ids, s, seed).labeled) for s in specs), key=len)
    assert small <= large


@given(ids=ids_lists, spec=fractions, seed=seeds, data=st.data())
def test_images_without_a_label_are_unlabeled(
    ids: list[str], spec: str, seed: int, data: st.DataObject
) -> None:
    able = data.draw(st.lists(st.sampled_from(ids), min_size=1, unique=True))
    split = split_labeled(ids, spec, seed, bare=set(ids) - set(able))
    assert sorted(split.labeled + split.unlabeled) == list(range(len(ids)))
    # Those are drawn that would be, were there no others.
    alone, ordered = split_labeled(able, spec, seed), sorted(able)
    assert [sorted(ids)[i] for i in split.labeled] == [ordered[i] for i in alone.labeled]


def test_seed_and_digest_tell_splits_apart() -> None:
    first, other = (split_labeled(IDS, "1/8", seed) for seed in (0, 1))
    assert first.labeled != other.labeled
    # The same images asked for in another way are the same split.
    assert split_labeled(IDS, "13", 0).digest == first.digest
    larger = split_labeled([*IDS, "city/9999"], "full", 0)
    lists = [IDS[:4], IDS[4:8]]  # held out
    digests = {split_labeled(IDS[:20], "20", 0).holding_out(ids).digest for ids in lists}
    digests |= {split_labeled(IDS[:20], "20", 0).digest, split_labeled(IDS, "full", 0).digest}
    assert len(digests | {first.digest, other.digest, larger.digest}) == 7


def test_a_seeded_split_never_changes() -> None:
    assert split_labeled(IDS, "1/20", 0).labeled == (5, 20, 36, 82, 93)
    assert split_labeled(IDS, "1/8", 3).digest == "730b5ca8aeac"
    for spec in ("full", "1/1", "100"):
        assert split_labeled(IDS, spec, 0).unlabeled == ()


def test_list_and_pair(tmp_path: Path) -> None:
    labeled, unlabeled = tmp_path / "labeled.txt", tmp_path / "unlabeled.txt"
    labeled.write_text("city/0004.png\ncity/0002.png\n")
    unlabeled.write_text("train/city/0007.png x.png\r\n")
    single = split_labeled(IDS, str(labeled), 0)
    assert single.labeled == (2, 4)
    assert len(single.unlabeled) == 98
    pair = split_labeled(list(reversed(IDS)), f"{labeled},{unlabeled}", 0)
    assert (pair.labeled, pair.unlabeled) == ((2, 4), (7,))
    assert pair.digest != single.digest


def test_bad_lists(tmp_path: Path) -> None:
    labeled, unlabeled = tmp_path / "labeled.txt", tmp_path / "unlabeled.txt"
    with pytest.raises(DataError, match=r"labeled\.txt: no such file"):
        split_labeled(IDS, str(labeled), 0)
    labeled.write_text("\n")
    with pytest.raises(DataError, match=r"labeled\.txt names no image"):
        split_labeled(IDS, str(labeled), 0)
    labeled.write_text("0002\n0004\n")
    unlabeled.write_text("0003\n0004\n")
    with pytest.raises(DataError, match=r"1 images are in both .*'city/0004'"):
        split_labeled(IDS, f"{labeled},{unlabeled}", 0)
    unlabeled.write_text("0003\n../0005\n")
    with pytest.raises(DataError, match=r"unlabeled\.txt, line 2: .*escapes the root"):
        split_labeled(IDS, f"{labeled},{unlabeled}", 0)


def test_pickled_permutation(tmp_path: Path) -> None:
    order = np.random.default_rng(5).permutation(100)
    path = tmp_path / "train@split.pkl"
    path.write_bytes(pickle.dumps(order, protocol=3))
    split = split_labeled(IDS, f"{path}@1/8", 0)
    assert set(split.labeled) == set(order[:13].tolist())
    assert len(split.unlabeled) == 87
    assert "cannot be reproduced exactly" in split.note
    assert split_labeled(IDS, "1/8", 0).note == ""
    with pytest.raises(DataError, match="another data set"):
        split_labeled(IDS[:-1], f"{path}@1/8", 0)
    held = set(order[:5].tolist())
    rest = split_labeled(IDS, f"{path}@10", 0, [IDS[index] for index in held])
    assert set(rest.labeled) == set(order[5:15].tolist())


def test_written_split_can_be_read_back(tmp_path: Path) -> None:
    write_camvid(tmp_path)
    dataset = open_dataset("camvid", tmp_path, "train")
    ids = [sample.id for sample in dataset.samples]
    for spec in ("1/3", "full"):
        split = split_labeled(ids, spec, 3)
        write_split(tmp_path, dataset, split)
        again = split_labeled(ids, f"{tmp_path}/labeled.txt,{tmp_path}/unlabeled.txt", 0)
        assert (again.labeled, again.unlabeled) == (split.labeled, split.unlabeled)
        assert again.digest == split.digest
        summary = json.loads((tmp_path / "split.json").read_text())
        named = [summary[key] for key in ("digest", "labeled", "unlabeled", "seed", "spec")]
        assert named == [split.digest, len(split.labeled), len(split.unlabeled), 3, spec]
    with pytest.raises(DataError, match="cannot be written"):
        write_split(tmp_path / "nowhere", dataset, split)
    name = "0001TP_006690"
    (tmp_path / f"train/{name}.png").rename(tmp_path / "train/a\nb.png")
    (tmp_path / f"trainannot/{name}.png").rename(tmp_path / "trainannot/a\nb.png")
    dataset = open_dataset("camvid", tmp_path, "train")
    with pytest.raises(DataError, match="line break"):
        write_split(tmp_path, dataset, split)


def dataset_of(ids: list[str], without_label: Collection[str] = ()) -> SegmentationDataset:
    """A split that is never read, in whatever order."""
    return SegmentationDataset(
        name="folder",
        root=Path("/data"),
        split="train",
        classes=ClassSet(("a",), ((0, 0, 0),)),
        samples=tuple(
            Sample(key, Path(f"{key}.jpg"), None if key in without_label else Path(f"{key}.png"))
            for key in ids
        ),
        lookup=lookup_table({0: 0}, ()),
        read_raw_image=read_image,
        read_raw_label=read_index_png,
    )


def held(dataset: SegmentationDataset, spec: str, seed: int = 0) -> list[str]:
    return [sample.id for sample in hold_out(dataset, spec, seed).samples]


class TestHoldOut:
    @given(ids=ids_lists, val=fractions, spec=fractions, seed=seeds, data=st.data())
    def test_no_image_is_both_trained_on_and_validated(
        self, ids: list[str], val: str, spec: str, seed: int, data: st.DataObject
    ) -> None:
        shuffled = data.draw(st.permutations(ids))
        kept = held(dataset_of(shuffled), val, seed)
        assert kept == held(dataset_of(ids), val, seed)
        assert len(kept) == labeled_count(val, len(ids))
        if len(kept) == len(ids):
            with pytest.raises(DataError, match="none is left"):
                split_labeled(ids, spec, seed, kept)
            return
        split = split_labeled(shuffled, spec, seed, kept)
        parts = [
            [sorted(ids)[index] for index in part] for part in (split.labeled, split.unlabeled)
        ]
        assert sorted([*kept, *parts[0], *parts[1]]) == sorted(ids)
        assert len(split.labeled) == labeled_count(spec, len(ids) - len(kept))
        assert split.held_out == tuple(kept)
        assert split_labeled(ids, spec, seed, kept) == split

    def test_a_larger_share_holds_a_smaller_one(self) -> None:
        small, large = (set(held(dataset_of(IDS), spec, 5)) for spec in ("1/10", "0.3"))
        assert len(small) == 10 and len(large) == 30 and small < large
        assert small != set(held(dataset_of(IDS), "1/10", 6))

    def test_images_without_a_label_cannot_be_validated(self) -> None:
        bare = IDS[::2]
        assert held(dataset_of(IDS, bare), "50") == IDS[1::2]
        for spec in ("51", "1"):
            with pytest.raises(DataError, match=r"data\.val"):
                held(dataset_of(IDS, bare if spec == "51" else IDS), spec)

    def test_lists(self, tmp_path: Path) -> None:
        val, labeled = tmp_path / "val.txt", tmp_path / "labeled.txt"
        val.write_text("city/0003.jpg\ncity/0001\n")
        assert held(dataset_of(IDS), str(val)) == ["city/0001", "city/0003"]
        labeled.write_text("city/0001\ncity/0002\ncity/0003\n")
        split = split_labeled(IDS, str(labeled), 0, ["city/0001", "city/0003"])
        assert split.labeled == (2,) and len(split.unlabeled) == 97
        assert "2 of the 3 images" in split.note
        with pytest.raises(DataError, match="held out"):
            split_labeled(IDS, str(val), 0, ["city/0001", "city/0003"])
        val.write_text("")
        with pytest.raises(DataError, match="names no image"):
            held(dataset_of(IDS), str(val))
