"""What is sampled, and how it is augmented, is a pure function of seed, stream and number."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mixseg.data.arrays import ImageArray, Size
from mixseg.data.contract import ClassSet, Sample, SegmentationDataset, lookup_table
from mixseg.data.images import read_image, read_index_png, write_png
from mixseg.data.streams import Batch, Drawn, StreamDataset, stream_batches
from mixseg.data.transforms import PairedTransform
from mixseg.errors import DataError
from mixseg.ignore import IGNORE

CLASSES = ClassSet(names=("a", "b", "c"), palette=((0, 0, 0), (1, 1, 1), (2, 2, 2)))
COUNT = 7


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> SegmentationDataset:
    root = tmp_path_factory.mktemp("stream")
    random = np.random.default_rng(0)
    samples = []
    for index in range(COUNT):
        image, label = root / f"{index}.png", root / f"{index}_label.png"
        write_png(image, random.integers(0, 256, (20, 26, 3), dtype=np.uint8))
        write_png(label, random.integers(0, 3, (20, 26), dtype=np.uint8))
        samples.append(Sample(f"s{index}", image, label))
    return SegmentationDataset(
        "toy",
        root,
        "train",
        CLASSES,
        tuple(samples),
        lookup_table({0: 0, 1: 1, 2: 2}, ignore=[255]),
        read_image,
        read_index_png,
    )


def stream(dataset: SegmentationDataset, **changes: object) -> StreamDataset:
    arguments: dict[str, object] = {"seed": 3, "stream": "labeled", "labeled": True}
    indices = changes.pop("indices", tuple(range(COUNT)))
    transform = PairedTransform(scale=(0.5, 1.5), crop=(16, 16), flip=True, fill=(1, 2, 3))
    return StreamDataset(dataset, indices, transform, **(arguments | changes))  # type: ignore[arg-type]


def batches(dataset: SegmentationDataset, first: int, last: int, workers: int = 0) -> list[Batch]:
    return list(stream_batches(stream(dataset), 3, first, last, workers))


def same(first: list[Batch], second: list[Batch]) -> bool:
    return len(first) == len(second) and all(
        a.ids == b.ids and all(torch.equal(x, y) for x, y in zip(a[:3], b[:3], strict=True))
        for a, b in zip(first, second, strict=True)
    )


WAVES = ((1, 0.5), (0.3, 1), (1, -1))


def jpegs(root: Path, label_size: Size = (120, 160)) -> SegmentationDataset:
    """Two photographs of 120x160 that change slowly, and their labels."""
    rows, columns = np.mgrid[:120, :160]
    samples = []
    for index in range(2):
        waves = [128 + 100 * np.sin((rows * a + columns * b) / 20 + index) for a, b in WAVES]
        image, label = root / f"{index}.jpg", root / f"{index}.png"
        Image.fromarray(np.stack(waves, axis=2).astype(np.uint8)).save(image, quality=95)
        height, width = label_size
        write_png(label, (columns[:height, :width] // 40 % 3).astype(np.uint8))
        samples.append(Sample(f"s{index}", image, label))
    table = lookup_table({0: 0, 1: 1, 2: 2}, ignore=[255])
    return SegmentationDataset(
        "toy", root, "train", CLASSES, tuple(samples), table, read_image, read_index_png
    )


class TestReducedPhotographs:
    """Where images are made smaller first, their JPEGs are not decoded whole."""

    @pytest.mark.parametrize("labeled", [True, False])
    @pytest.mark.parametrize("scale", [None, (0.5, 1.2)])
    def test_the_example_is_that_of_the_whole_photograph(
        self, tmp_path: Path, labeled: bool, scale: tuple[float, float] | None
    ) -> None:
        photographs = jpegs(tmp_path)
        heights: list[int] = []

        def whole(path: Path, target: Size | None) -> ImageArray:
            heights.append(read_image(path, target).shape[0])
            return read_image(path)

        plain = dataclasses.replace(photographs, read_raw_image=whole)
        transform = PairedTransform(resize=(24, 32), scale=scale, crop=(20, 20), flip=True)
        reduced, expected = (
            StreamDataset(data, (0, 1), transform, seed=0, stream="s", labeled=labeled)
            for data in (photographs, plain)
        )
        for draw in range(8):
            one, other = reduced[draw], expected[draw]
            assert isinstance(one, Drawn) and isinstance(other, Drawn)
            assert torch.equal(one.example.label, other.example.label)
            assert torch.equal(one.example.valid, other.example.valid)
            assert torch.equal(one.example.label != 255, one.example.valid & labeled)
            difference = one.example.image.float() - other.example.image.float()
            assert difference.abs().max() <= 3 and difference.abs().mean() < 1
        assert set(heights) == {60}

    # 60x80 is also the size of the photograph as it is decoded.
    @pytest.mark.parametrize("size", [(119, 160), (60, 80)])
    def test_a_label_of_another_size_is_refused(self, tmp_path: Path, size: Size) -> None:
        wrong = jpegs(tmp_path, size)
        transform = PairedTransform(resize=(30, 40))
        found = StreamDataset(wrong, (0, 1), transform, seed=0, stream="s", labeled=True)[0]
        assert isinstance(found, DataError)
        assert "160x120" in str(found) and f"{size[1]}x{size[0]}" in str(found)


@pytest.mark.parametrize("workers", [0, 1])
def test_labels_that_teach_nothing_are_named(tmp_path: Path, workers: int) -> None:
    photographs = jpegs(tmp_path)
    void = photographs.samples[1].label
    assert void is not None
    write_png(void, np.full((120, 160), 255, dtype=np.uint8))
    drawn = StreamDataset(
        photographs, (0, 1), PairedTransform(crop=(8, 8)), seed=0, stream="s", labeled=True
    )
    for batch in stream_batches(drawn, 2, 0, 3, workers):
        assert batch.void == batch.to(torch.device("cpu")).void == (str(void),)


class TestPurity:
    @pytest.mark.parametrize("workers", [1, 2])
    def test_the_number_of_workers_changes_nothing(
        self, dataset: SegmentationDataset, workers: int
    ) -> None:
        assert same(batches(dataset, 0, 6), batches(dataset, 0, 6, workers))

    @pytest.mark.parametrize(("first", "workers"), [(1, 0), (4, 0), (4, 2)])
    def test_starting_later_is_skipping(
        self, dataset: SegmentationDataset, first: int, workers: int
    ) -> None:
        assert same(batches(dataset, 0, 7)[first:], batches(dataset, first, 7, workers))

    def test_global_random_state_neither_decides_nor_moves(
        self, dataset: SegmentationDataset
    ) -> None:
        torch.manual_seed(1)
        np.random.seed(1)  # noqa: NPY002  # the global state is what is tested
        expected = batches(dataset, 0, 3)
        torch.manual_seed(2)
        np.random.seed(2)  # noqa: NPY002
        before = torch.get_rng_state()
        for workers in (0, 1):
            assert same(expected, batches(dataset, 0, 3, workers))
        assert torch.equal(before, torch.get_rng_state())

    def test_draws_in_any_order_are_the_same(self, dataset: SegmentationDataset) -> None:
        one, other = stream(dataset), stream(dataset)
        forwards = [one[draw] for draw in range(2 * COUNT)]
        for draw in reversed(range(2 * COUNT)):
            example, name, *_ = other[draw]
            assert name == forwards[draw][1]
            assert torch.equal(example.image, forwards[draw][0].image)

    @pytest.mark.parametrize("change", [{"seed": 4}, {"stream": "unlabeled"}])
    def test_other_seeds_and_streams_are_others(
        self, dataset: SegmentationDataset, change: dict[str, object]
    ) -> None:
        one, other = stream(dataset), stream(dataset, **change)
        ids = [[part[draw][1] for draw in range(3 * COUNT)] for part in (one, other)]
        assert ids[0] != ids[1]


class TestEpochs:
    def test_every_epoch_visits_each_image_once(self, dataset: SegmentationDataset) -> None:
        names = [stream(dataset)[draw][1] for draw in range(4 * COUNT)]
        epochs = [names[start : start + COUNT] for start in range(0, len(names), COUNT)]
        for epoch in epochs:
            assert Counter(epoch) == Counter(f"s{index}" for index in range(COUNT))
        assert len({tuple(epoch) for epoch in epochs}) > 1, "in another order each time"

    def test_an_image_is_augmented_anew_in_each_epoch(self, dataset: SegmentationDataset) -> None:
        single = stream(dataset, indices=(2,))
        views = [single[draw][0].image for draw in range(4)]
        assert any(not torch.equal(views[0], view) for view in views[1:])

    def test_only_the_given_images_are_drawn(self, dataset: SegmentationDataset) -> None:
        part = stream(dataset, indices=(5, 1))
        assert {part[draw][1] for draw in range(10)} == {"s1", "s5"}

    def test_a_batch_may_be_larger_than_the_set(self, dataset: SegmentationDataset) -> None:
        (batch,) = stream_batches(stream(dataset, indices=(0, 1)), 5, 0, 1, 0)
        assert len(batch.ids) == 5


class TestBatches:
    def test_shapes_and_types(self, dataset: SegmentationDataset) -> None:
        (batch,) = batches(dataset, 0, 1)
        assert batch.images.shape == (3, 3, 16, 16)
        assert batch.labels.shape == batch.valid.shape == (3, 16, 16)
        assert (batch.images.dtype, batch.labels.dtype) == (torch.uint8, torch.uint8)
        assert batch.valid.dtype == torch.bool
        assert (batch.labels[~batch.valid] == IGNORE).all()
        assert (batch.labels[batch.valid] < 3).all()

    def test_an_unlabelled_stream_reads_no_label(
        self, dataset: SegmentationDataset, tmp_path: Path
    ) -> None:
        bare = SegmentationDataset(
            "toy",
            dataset.root,
            "train",
            CLASSES,
            tuple(Sample(sample.id, sample.image) for sample in dataset.samples),
            dataset.lookup,
            read_image,
            read_index_png,
        )
        example = stream(bare, labeled=False)[0].example
        assert (example.label == IGNORE).all()
        assert example.valid.any()


class TestBadSamples:
    """One of seven samples is damaged, and at most one may be."""

    SHARE = 1 / COUNT

    @pytest.fixture
    def damaged(self, dataset: SegmentationDataset, tmp_path: Path) -> SegmentationDataset:
        path = tmp_path / "bad.png"
        path.write_bytes(dataset.samples[4].image.read_bytes()[:-30])
        samples = [*dataset.samples]
        samples[4] = dataclasses.replace(samples[4], image=path)
        return dataclasses.replace(dataset, samples=tuple(samples))

    def test_the_next_of_the_epochs_order_stands_for_it(
        self, dataset: SegmentationDataset, damaged: SegmentationDataset
    ) -> None:
        whole, part = stream(dataset), stream(damaged, bad_share=self.SHARE)
        for epoch in range(6):
            draws = range(epoch * COUNT, (epoch + 1) * COUNT)
            order = [whole[draw].id for draw in draws]
            place = order.index("s4")
            expected = [*order]
            expected[place] = order[(place + 1) % COUNT]
            assert [part[draw].id for draw in draws] == expected
            for draw in draws:
                bad = draw % COUNT == place
                assert [one.id for one in part[draw].skipped] == ["s4"] * bad
                if not bad:  # as if nothing had been
                    assert torch.equal(part[draw].example.image, whole[draw].example.image)
            # What stands for it is another view than where it stands for itself.
            own = next(draw for draw in draws if order[draw % COUNT] == expected[place])
            instead = part[epoch * COUNT + place].example.image
            assert not torch.equal(part[own].example.image, instead)

    @pytest.mark.parametrize("workers", [0, 2])
    def test_workers_and_a_later_start_change_nothing(
        self, damaged: SegmentationDataset, workers: int
    ) -> None:
        def taken(first: int, workers: int) -> list[Batch]:
            part = stream(damaged, bad_share=self.SHARE)
            return list(stream_batches(part, 3, first, 7, workers))

        expected = taken(0, 0)
        assert same(expected[3:], taken(3, workers))
        skipped = [one for batch in expected for one in batch.skipped]
        assert {(one.stream, one.id) for one in skipped} == {("labeled", "s4")}
        assert all("bad.png" in one.reason for one in skipped)

    @pytest.mark.parametrize("share", [0.0, 0.99 / COUNT])
    def test_more_than_the_share_is_an_error(
        self, damaged: SegmentationDataset, share: float
    ) -> None:
        with pytest.raises(DataError, match=r"bad\.png"):
            list(stream_batches(stream(damaged, bad_share=share), 1, 0, COUNT, 0))

    def test_all_bad_is_an_end(self, damaged: SegmentationDataset) -> None:
        bad = damaged.samples[4]
        samples = tuple(Sample(f"s{index}", bad.image, bad.label) for index in range(COUNT))
        hopeless = dataclasses.replace(damaged, samples=samples)
        with pytest.raises(DataError, match=r"more than 3 of 7 images of the labeled stream"):
            list(stream_batches(stream(hopeless, bad_share=0.5), 1, 0, 1, 0))
