"""What is sampled, and how it is augmented, is a pure function of seed, stream and number."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from mixseg.config.values import Size
from mixseg.data.contract import ClassSet, Sample, SegmentationDataset, train_id_lookup
from mixseg.data.images import ImageArray, read_image, read_index_png, write_png
from mixseg.data.streams import Batch, Drawn, StreamDataset, stream_batches
from mixseg.data.transforms import PairedTransform
from mixseg.errors import DataError
from mixseg.ignore import IGNORE

CLASSES = ClassSet.of(["a", "b", "c"])
COUNT = 7
TRANSFORM = PairedTransform(scale=(0.5, 1.5), crop=(16, 16), flip=True, fill=(1, 2, 3))


def toy(root: Path, samples: list[Sample]) -> SegmentationDataset:
    table = train_id_lookup(CLASSES)
    return SegmentationDataset(
        "toy", root, "train", CLASSES, tuple(samples), table, read_image, read_index_png
    )


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
    return toy(root, samples)


def stream(
    dataset: SegmentationDataset,
    transform: PairedTransform = TRANSFORM,
    *,
    indices: tuple[int, ...] | None = None,
    seed: int = 3,
    name: str = "any",
    labeled: bool = True,
    bad_share: float = 0.0,
) -> StreamDataset:
    return StreamDataset(
        dataset,
        tuple(range(len(dataset))) if indices is None else indices,
        transform,
        seed=seed,
        stream=name,
        labeled=labeled,
        bad_share=bad_share,
    )


def drawn(part: StreamDataset, draw: int) -> Drawn:
    item = part[draw]
    assert isinstance(item, Drawn), item
    return item


def ids(part: StreamDataset, count: int) -> list[str]:
    return [drawn(part, draw).id for draw in range(count)]


def batches(dataset: SegmentationDataset, first: int, last: int, workers: int = 0) -> list[Batch]:
    return list(stream_batches(stream(dataset), 3, first, last, workers))


def same(first: list[Batch], second: list[Batch]) -> bool:
    return len(first) == len(second) and all(
        a.ids == b.ids and all(torch.equal(x, y) for x, y in zip(a[:3], b[:3], strict=True))
        for a, b in zip(first, second, strict=True)
    )


def test_instances_come_with_their_images_where_they_are_asked_for(
    dataset: SegmentationDataset,
) -> None:
    """They are augmented as the labels are; 1000 times the label, plus 1000, here."""
    samples = tuple(dataclasses.replace(one, instances=one.label) for one in dataset.samples)

    def read(path: Path) -> NDArray[np.int32]:
        return 1000 * (read_index_png(path).astype(np.int32) + 1)

    things = dataclasses.replace(dataset, samples=samples, read_instances=read)
    asking = dataclasses.replace(stream(things), instances=True)
    plain, found = (list(stream_batches(one, 3, 0, 4, 0)) for one in (stream(things), asking))
    assert same(plain, found) and all(one.instances is None for one in plain)
    for one in found:
        assert one.instances is not None and one.instances.dtype == torch.int32
        expected = 1000 * (one.labels.int() + 1)
        assert torch.equal(one.instances, expected.masked_fill(one.labels == IGNORE, 0))
        # What a method does to the whole batch is done to all of its tensors.
        turned = one.mapped(lambda values: values.flip(0))
        assert turned.instances is not None
        assert torch.equal(turned.instances.flip(0), one.instances) and turned.ids == one.ids
    with pytest.raises(DataError, match="no file of instances"):
        list(stream_batches(dataclasses.replace(stream(dataset), instances=True), 3, 0, 1, 0))


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
    return toy(root, samples)


class TestReducedReading:
    @pytest.mark.parametrize(("labeled", "scale"), [(True, None), (False, (0.5, 1.2))])
    def test_images_are_decoded_at_half_size_for_a_resize(
        self, tmp_path: Path, labeled: bool, scale: tuple[float, float] | None
    ) -> None:
        """Labels and masks are the same to the bit; images differ by rounding."""
        photographs = jpegs(tmp_path)
        heights: list[int] = []

        def whole(path: Path, target: Size | None) -> ImageArray:
            heights.append(read_image(path, target).shape[0])
            return read_image(path)

        plain = dataclasses.replace(photographs, read_raw_image=whole)
        transform = PairedTransform(resize=(24, 32), scale=scale, crop=(20, 20), flip=True)
        reduced, expected = (
            stream(data, transform, labeled=labeled) for data in (photographs, plain)
        )
        for draw in range(8):
            one, other = drawn(reduced, draw).example, drawn(expected, draw).example
            assert torch.equal(one.label, other.label)
            assert torch.equal(one.valid, other.valid)
            assert torch.equal(one.label != 255, one.valid & labeled)
            difference = one.image.float() - other.image.float()
            assert difference.abs().max() <= 3 and difference.abs().mean() < 1
        assert set(heights) == {60}

    # 60x80 is also the size of the photograph as it is decoded.
    @pytest.mark.parametrize("size", [(119, 160), (60, 80)])
    def test_a_label_of_another_size_is_refused(self, tmp_path: Path, size: Size) -> None:
        found = stream(jpegs(tmp_path, size), PairedTransform(resize=(30, 40)))[0]
        assert isinstance(found, DataError)
        assert "160x120" in str(found) and f"{size[1]}x{size[0]}" in str(found)


def test_labels_that_teach_nothing_are_named(tmp_path: Path) -> None:
    photographs = jpegs(tmp_path)
    void = photographs.samples[1].label
    write_png(void, np.full((120, 160), 255, dtype=np.uint8))
    part = stream(photographs, PairedTransform(crop=(8, 8)))
    for batch in stream_batches(part, 2, 0, 3, 1):
        assert batch.void == batch.to(torch.device("cpu")).void == (str(void),)


class TestPurity:
    def test_workers_a_later_start_and_the_global_state_change_nothing(
        self, dataset: SegmentationDataset
    ) -> None:
        torch.manual_seed(1)
        np.random.seed(1)  # noqa: NPY002  # the global state is what is tested
        expected = batches(dataset, 0, 7)
        torch.manual_seed(2)
        np.random.seed(2)  # noqa: NPY002
        before = torch.get_rng_state()
        for first, workers in ((0, 1), (1, 0), (4, 2)):
            assert same(expected[first:], batches(dataset, first, 7, workers))
        assert torch.equal(before, torch.get_rng_state())

    def test_draws_depend_on_seed_stream_and_number(self, dataset: SegmentationDataset) -> None:
        one, other = stream(dataset), stream(dataset)
        forwards = [drawn(one, draw) for draw in range(2 * COUNT)]
        for draw in reversed(range(2 * COUNT)):
            again = drawn(other, draw)
            assert again.id == forwards[draw].id
            assert torch.equal(again.example.image, forwards[draw].example.image)
        parts = (one, stream(dataset, seed=4), stream(dataset, name="other"))
        assert len({tuple(ids(part, 3 * COUNT)) for part in parts}) == 3


class TestEpochs:
    def test_every_epoch_visits_each_image_once(self, dataset: SegmentationDataset) -> None:
        names = ids(stream(dataset), 4 * COUNT)
        epochs = [names[start : start + COUNT] for start in range(0, len(names), COUNT)]
        for epoch in epochs:
            assert Counter(epoch) == Counter(f"s{index}" for index in range(COUNT))
        assert len({tuple(epoch) for epoch in epochs}) > 1, "in another order each time"

    def test_only_the_given_images_are_drawn_anew_each_time(
        self, dataset: SegmentationDataset
    ) -> None:
        assert {*ids(stream(dataset, indices=(5, 1)), 10)} == {"s1", "s5"}
        single = stream(dataset, indices=(2,))
        views = [drawn(single, draw).example.image for draw in range(4)]
        assert any(not torch.equal(views[0], view) for view in views[1:])
        # A batch may be larger than the set.
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
        bare = toy(dataset.root, [Sample(one.id, one.image) for one in dataset.samples])
        example = drawn(stream(bare, labeled=False), 0).example
        assert (example.label == IGNORE).all() and example.valid.any()

    def test_images_that_differ_in_size(self, tmp_path: Path) -> None:
        photographs = jpegs(tmp_path)
        write_png(tmp_path / "0.jpg", np.zeros((9, 9, 3), dtype=np.uint8))
        part = stream(photographs, PairedTransform(), labeled=False)
        with pytest.raises(DataError, match=r"9x9 and 120x160.*s[01]"):
            list(stream_batches(part, 2, 0, 1, 0))


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
            order = [drawn(whole, draw).id for draw in draws]
            place = order.index("s4")
            expected = [*order]
            expected[place] = order[(place + 1) % COUNT]
            found = [drawn(part, draw) for draw in draws]
            assert [one.id for one in found] == expected
            for position, one in enumerate(found):
                bad = position == place
                assert [skipped.id for skipped in one.skipped] == ["s4"] * bad
                if not bad:  # as if nothing had been
                    image = drawn(whole, draws[position]).example.image
                    assert torch.equal(one.example.image, image)
            # What stands for it is another view than where it stands for itself.
            own = found[order.index(expected[place])].example.image
            assert not torch.equal(own, found[place].example.image)

    def test_workers_and_a_later_start_change_nothing(self, damaged: SegmentationDataset) -> None:
        def taken(first: int, workers: int) -> list[Batch]:
            part = stream(damaged, bad_share=self.SHARE)
            return list(stream_batches(part, 3, first, 7, workers))

        expected = taken(0, 0)
        assert same(expected[3:], taken(3, 2))
        skipped = [one for batch in expected for one in batch.skipped]
        assert {(one.stream, one.id) for one in skipped} == {("any", "s4")}
        assert all("bad.png" in one.reason for one in skipped)

    def test_more_than_the_share_is_an_error(self, damaged: SegmentationDataset) -> None:
        for share in (0.0, 0.99 / COUNT):
            with pytest.raises(DataError, match=r"bad\.png"):
                list(stream_batches(stream(damaged, bad_share=share), 1, 0, COUNT, 0))
        bad = damaged.samples[4]
        hopeless = toy(damaged.root, [Sample(f"s{i}", bad.image, bad.label) for i in range(COUNT)])
        with pytest.raises(DataError, match=r"more than 3 of 7 images of the any stream"):
            list(stream_batches(stream(hopeless, bad_share=0.5), 1, 0, 1, 0))
