"""Arrays from Python go through every part that files go through."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mixseg.data.check import Inspector, check_samples, ids_in_labels, without_unequal_pairs
from mixseg.data.class_maps import ClassMap
from mixseg.data.contract import ClassSet
from mixseg.data.from_python import from_python
from mixseg.data.record import record_of_validation
from mixseg.data.splits import hold_out, split_labeled
from mixseg.data.statistics import image_statistics, label_statistics
from mixseg.data.streams import StreamDataset, stream_batches
from mixseg.data.transforms import PairedTransform
from mixseg.errors import DataError

NAMES = ["ground", "leaf", "stem"]


def items(count: int = 12, seed: int = 0) -> list[tuple[Any, Any]]:
    random = np.random.default_rng(seed)
    return [
        (
            random.integers(0, 256, (10, 14, 3), dtype=np.uint8),
            random.choice(np.array([0, 1, 2, 255], dtype=np.uint8), (10, 14)),
        )
        for _ in range(count)
    ]


def test_images_and_labels() -> None:
    given = items()
    dataset = from_python(given, NAMES)
    assert [sample.id for sample in dataset.samples] == [f"{i:02}" for i in range(12)]
    assert dataset.classes.names == tuple(NAMES) and len(set(dataset.classes.palette)) == 3
    for index, (image, label) in enumerate(given):
        found = dataset.pair(index)
        np.testing.assert_array_equal(found[0], image)
        np.testing.assert_array_equal(found[1], label)
    assert dataset.size(3) == (10, 14)
    copy = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(copy.image(11), given[11][0])


def test_an_item_is_fetched_once_for_image_and_label() -> None:
    class Counting(list[tuple[Any, Any]]):
        fetched = 0

        def __getitem__(self, index: Any) -> Any:
            Counting.fetched += 1
            return super().__getitem__(index)

    dataset = from_python(Counting(items()), NAMES)
    Counting.fetched = 0
    for index in range(12):
        dataset.pair(index, (5, 7))
    assert Counting.fetched <= 12


def test_every_part_takes_it(tmp_path: Path) -> None:
    given = items()
    dataset = from_python(given, NAMES)
    ids = [sample.id for sample in dataset.samples]
    val = hold_out(dataset, "1/4", 0)
    split = split_labeled(ids, "1/3", 0, [sample.id for sample in val.samples])
    assert (len(val), len(split.labeled), len(split.unlabeled)) == (3, 3, 6)
    assert record_of_validation(val)["val"] == {sample.id: None for sample in val.samples}
    check_samples(dataset, range(12))
    assert ids_in_labels(dataset, range(12)) == (frozenset({0, 1, 2, 255}), 1)
    assert without_unequal_pairs(dataset)[1] == ()
    report = Inspector(0).read("training", "data", lambda: dataset, labeled=True)
    assert (report.labels, report.problems) == (12, ())
    # Nothing is remembered: other arrays have the same names.
    for seed in (0, 1):
        own = items(seed=seed)
        counted = label_statistics(from_python(own, NAMES), range(12), tmp_path)
        stacked = np.stack([label for _, label in own])
        assert counted.pixels.tolist() == [int((stacked == one).sum()) for one in range(3)]
    assert image_statistics(dataset, range(12)).sizes == {(10, 14): 12}
    swapped = ClassMap(dataset.classes, ClassSet.of(["plant"]), ("ignore", "plant", "plant"))
    label = swapped.apply(dataset).label(0)
    np.testing.assert_array_equal(label == 0, np.isin(given[0][1], [1, 2]))


def test_streams() -> None:
    given = items()
    whole = {image.tobytes(): label for image, label in given}
    part = StreamDataset(
        from_python(given, NAMES), (*range(12),), PairedTransform(), seed=0, stream="", labeled=True
    )
    batches = list(stream_batches(part, 4, 0, 3, 2))
    assert sorted(name for batch in batches for name in batch.ids) == [f"{i:02}" for i in range(12)]
    for batch in batches:
        for image, label in zip(batch.images, batch.labels, strict=True):
            key = image.permute(1, 2, 0).numpy().tobytes()
            assert torch.equal(label, torch.from_numpy(whole[key]))


def test_without_labels_and_with_some() -> None:
    given = items()
    assert not any(one.label for one in from_python([(i, None) for i, _ in given], NAMES).samples)
    some = from_python(given, NAMES, labeled=[2, 5])
    assert [index for index, one in enumerate(some.samples) if one.label] == [2, 5]
    given[5] = (given[5][0], None)
    with pytest.raises(DataError, match="item 5 has no label"):
        some.label(5)


def test_pillow_images_and_ignored_ids() -> None:
    given = [(Image.fromarray(image), Image.fromarray(label)) for image, label in items()]
    np.testing.assert_array_equal(from_python(given, NAMES).pair(1)[1], items()[1][1])
    plain = from_python(given, NAMES[:2], ignore=[2])
    expected = np.where(items()[1][1] == 2, 255, items()[1][1])
    np.testing.assert_array_equal(plain.label(1), expected)
    with pytest.raises(DataError, match="label id 2 is not an id of leaves"):
        from_python(given, NAMES[:2], name="leaves").label(1)


def test_what_is_no_pair_is_refused() -> None:
    image = np.zeros((4, 4, 3), dtype=np.uint8)
    for wrong in (
        (image.transpose(2, 0, 1), None),
        (image.astype(np.float32), None),
        (image, np.zeros((4, 4), dtype=np.int64)),
        image,
    ):
        with pytest.raises(DataError, match="leaves: item 0"):
            from_python([wrong], NAMES, name="leaves")
    with pytest.raises(DataError, match="no item"):
        from_python([], NAMES)
    unequal = from_python([(image, np.zeros((4, 5), dtype=np.uint8))], NAMES)
    with pytest.raises(DataError, match=r"4x4 pixels .* 5x4"):
        unequal.pair(0)
