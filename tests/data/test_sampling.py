"""Rare-class sampling against the paper's formula, on label files."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mixseg.config.values import Size
from mixseg.data.contract import ClassSet, Sample, SegmentationDataset, lookup_table
from mixseg.data.images import read_image, read_index_png, write_png
from mixseg.data.sampling import RareClassSampler, images_by_class
from mixseg.data.statistics import dump_pixels, label_pixels, pixels_key
from mixseg.data.streams import Batch, Drawn, StreamDataset, stream_batches
from mixseg.data.transforms import PairedTransform
from mixseg.errors import DataError

CLASSES = ClassSet.of(["road", "person", "rider", "train"])
ROAD, PERSON, RIDER, TRAIN = range(4)
RAW = {10: ROAD, 20: PERSON, 21: PERSON, 30: RIDER, 40: TRAIN}
"""Two raw ids are one class, as after a class map; no file holds a train."""
SIDE = 24


def label_of(raw: dict[int, int]) -> NDArray[np.uint8]:
    """A label with so many pixels of each raw id, row by row; the rest is road."""
    ids = np.full(SIDE * SIDE, 10, dtype=np.uint8)
    at = 0
    for one, count in raw.items():
        ids[at : at + count] = one
        at += count
    return ids.reshape(SIDE, SIDE)


def write(root: Path, labels: Iterable[NDArray[np.uint8]]) -> SegmentationDataset:
    """A data set whose images show the raw ids of their labels in red."""
    samples = []
    for number, label in enumerate(labels):
        image, path = root / f"{number}.png", root / f"{number}_label.png"
        write_png(image, np.stack([label, np.zeros_like(label), np.zeros_like(label)], axis=2))
        write_png(path, label)
        samples.append(Sample(f"s{number}", image, path))
    table = lookup_table(RAW, ignore=[255])
    return SegmentationDataset(
        "toy", root, "train", CLASSES, tuple(samples), table, read_image, read_index_png
    )


COUNTS: tuple[dict[int, int], ...] = (
    {20: 60, 21: 40},
    {20: 30, 30: 9},
    {21: 99, 30: 50},
    {255: 200},
    {20: 101, 30: 49, 255: 10},
    {},
)
"""Raw id -> pixels of each of six label files."""


@pytest.fixture
def dataset(tmp_path: Path) -> SegmentationDataset:
    return write(tmp_path, map(label_of, COUNTS))


def sampled(
    dataset: SegmentationDataset,
    *,
    temperature: float = 0.5,
    min_pixels: int = 50,
    min_crop_share: float = 0.5,
    retries: int = 0,
    resize: Size | None = None,
    crop: Size | None = (16, 16),
    bad_share: float = 0.0,
    seed: int = 5,
    stream: str = "labeled",
) -> StreamDataset:
    indices = tuple(range(len(dataset)))
    sampler = RareClassSampler(
        label_pixels(dataset, indices, cache=dataset.root / "none", skip_bad=bad_share > 0),
        seed=seed,
        stream=stream,
        temperature=temperature,
        min_pixels=min_pixels,
        min_crop_share=min_crop_share,
        retries=retries,
        resize=resize,
    )
    return StreamDataset(
        dataset,
        indices,
        PairedTransform(resize=resize, crop=crop, flip=True),
        seed=seed,
        stream=stream,
        labeled=True,
        bad_share=bad_share,
        sampler=sampler,
    )


def drawn(part: StreamDataset, draw: int) -> Drawn:
    item = part[draw]
    assert isinstance(item, Drawn), item
    return item


class TestCounts:
    def test_they_are_those_of_the_files_and_read_once(
        self, dataset: SegmentationDataset, tmp_path: Path
    ) -> None:
        def refuse(path: Path) -> NoReturn:
            raise AssertionError(f"{path} is read again")

        found = label_pixels(dataset, [4, 0], cache=tmp_path / "cache", workers=1)
        road = SIDE * SIDE - 160
        assert found.tolist() == [[road, 101, 49, 0, 10], [SIDE * SIDE - 100, 100, 0, 0, 0]]
        unread = dataclasses.replace(dataset, read_raw_label=refuse)
        again = label_pixels(unread, [4, 0], cache=tmp_path / "cache")
        np.testing.assert_array_equal(again, found)
        # So is the record of a run, where there is no cache.
        record = tmp_path / "record.json"
        content = dump_pixels({"other": found[:1], pixels_key(dataset, [4, 0]): found})
        record.write_text(content)
        again = label_pixels(unread, [4, 0], recorded=record, cache=tmp_path / "none")
        np.testing.assert_array_equal(again, found)
        # Other images, another order, other meanings, other files, or damage: they are counted.
        lookup = dataset.lookup.copy()
        lookup[20] = RIDER
        for one, indices in (
            (unread, [0, 4]),
            (unread, [4]),
            (dataclasses.replace(unread, lookup=lookup), [4, 0]),
        ):
            with pytest.raises(AssertionError, match="is read again"):
                label_pixels(one, indices, recorded=record, cache=tmp_path / "none")
        damaged = (b"", b"[]", b"{", content[:-9].encode(), content.replace("101", '"a"').encode())
        for damage in (*damaged, content.replace("101", "1.5").encode(), b"\xff"):
            record.write_bytes(damage)
            again = label_pixels(dataset, [4, 0], recorded=record, cache=tmp_path / "other")
            np.testing.assert_array_equal(again, found)
            with pytest.raises(AssertionError, match="is read again"):
                label_pixels(unread, [4, 0], recorded=record, cache=tmp_path / "none")
        record.write_text(content)
        write_png(tmp_path / "0_label.png", label_of({30: 3, 40: 2, 10: 5, 20: 7}))
        with pytest.raises(AssertionError, match="is read again"):
            label_pixels(unread, [4, 0], recorded=record, cache=tmp_path / "none")

    def test_what_cannot_be_read(self, dataset: SegmentationDataset, tmp_path: Path) -> None:
        (tmp_path / "2_label.png").write_bytes(b"no label")
        for workers in (0, 1):
            with pytest.raises(DataError, match="2_label"):
                label_pixels(dataset, range(6), cache=tmp_path / "cache", workers=workers)
        found = label_pixels(dataset, range(6), cache=tmp_path / "cache", skip_bad=True)
        assert found.sum(axis=1).tolist() == [SIDE**2, SIDE**2, 0, *[SIDE**2] * 3]
        write_png(tmp_path / "2_label.png", label_of({40: 4}))  # once mended it is counted
        assert label_pixels(dataset, [2], cache=tmp_path / "cache", skip_bad=True)[0, TRAIN] == 4
        void = write(tmp_path, [np.full((SIDE, SIDE), 255, dtype=np.uint8)])
        with pytest.raises(DataError, match="no labeled pixel"):
            label_pixels(void, [0], cache=tmp_path / "cache")


class TestDistribution:
    @pytest.mark.parametrize("temperature", [0.5, 0.1])
    def test_classes_and_images_are_drawn_as_the_paper_says(
        self, dataset: SegmentationDataset, temperature: float
    ) -> None:
        part = sampled(dataset, temperature=temperature)
        totals: Counter[int] = Counter()
        for own in COUNTS:
            totals[ROAD] += SIDE * SIDE - sum(own.values())
            totals[PERSON] += own.get(20, 0) + own.get(21, 0)
            totals[RIDER] += own.get(30, 0)
        labeled = sum(totals.values())
        weights = {c: math.exp((1 - n / labeled) / temperature) for c, n in totals.items()}
        expected = {c: weight / sum(weights.values()) for c, weight in weights.items()}
        shows = {ROAD: [0, 1, 2, 3, 4, 5], PERSON: [0, 2, 4], RIDER: [2]}
        draws = 20_000
        assert part.sampler is not None
        found = [part.sampler.draw(draw) for draw in range(draws)]
        classes = Counter(wanted.train_id for _, wanted in found)
        assert TRAIN not in classes
        images = Counter(int(order[0]) for order, _ in found)
        by_image = {
            number: sum(
                expected[c] / len(of_class) for c, of_class in shows.items() if number in of_class
            )
            for number in range(6)
        }
        for counts, probabilities in ((classes, expected), (images, by_image)):
            for key, probability in probabilities.items():
                deviation = math.sqrt(draws * probability * (1 - probability))
                assert abs(counts[key] - draws * probability) < 4 * deviation
        assert [drawn(part, k).id for k in range(30)] == [f"s{order[0]}" for order, _ in found[:30]]

    def test_a_low_temperature_takes_the_rarest_class_alone(
        self, dataset: SegmentationDataset
    ) -> None:
        part = sampled(dataset, temperature=0.0001, min_pixels=49)
        assert {drawn(part, draw).id for draw in range(60)} == {"s2", "s4"}

    def test_pixels_are_those_that_the_network_sees(self, dataset: SegmentationDataset) -> None:
        pixels = label_pixels(dataset, range(6), cache=dataset.root / "none")
        images, scarce = images_by_class(pixels, 25, (SIDE // 2, SIDE // 2))
        assert [one.tolist() for one in images] == [[*range(6)], [0, 4], [2, 4], []]
        assert scarce == [RIDER], "its 50 pixels are 12.5"
        larger, none = images_by_class(pixels, 25, (SIDE, 2 * SIDE))
        assert [one.tolist() for one in larger] == [[*range(6)], [0, 1, 2, 4], [2, 4], []]
        assert none == []


PATCH = 12
"""Side of a square of riders in the corner of a large image."""


def hidden(root: Path, side: int = 64) -> SegmentationDataset:
    """Images of road and person with a few riders in a corner, at another row in each."""
    labels = []
    for row in (0, 20):
        label = np.full((side, side), 10, dtype=np.uint8)
        label[: side // 2] = 20
        label[row : row + PATCH, side - PATCH :] = 30
        labels.append(label)
    return write(root, labels)


def mean_shown(windows: NDArray[np.int64], enough: int, tries: int) -> float:
    """The mean of the first of some random windows that is enough, else of the largest."""
    good, poor = windows[windows >= enough], np.sort(windows[windows < enough])
    ranks = np.arange(len(poor) + 1) / len(windows)
    best = float((poor * np.diff(ranks**tries)).sum())
    if not len(good):
        return best
    return best + float(good.mean()) * (1 - (len(poor) / len(windows)) ** tries)


class TestCrops:
    # Above half of what the images have, any crop of 16x16 that shows half of it is enough.
    @pytest.mark.parametrize(("min_pixels", "enough"), [(100, 50), (400, PATCH * PATCH // 2)])
    @pytest.mark.parametrize("retries", [0, 60])
    def test_places_are_tried_until_enough_is_shown(
        self, tmp_path: Path, min_pixels: int, enough: int, retries: int
    ) -> None:
        data, crop = hidden(tmp_path), 16
        # What every place of a crop would show, from the label files.
        labels = [read_index_png(tmp_path / f"{number}_label.png") for number in range(2)]
        windows = np.stack(
            [np.lib.stride_tricks.sliding_window_view(one == 30, (crop, crop)) for one in labels]
        ).sum(axis=(3, 4))
        windows = windows.reshape(2, -1)
        tries = retries + 1
        expected = 1 - np.mean([(1 - (one >= enough).mean()) ** tries for one in windows])
        assert (retries == 0) == (expected < 0.1)
        # The first that shows enough is taken, and not the best of all tries.
        shown_on_average = np.mean([mean_shown(one, enough, tries) for one in windows])
        part = sampled(
            data, temperature=0.0001, min_pixels=min_pixels, retries=retries, crop=(crop, crop)
        )
        draws = 500
        pixels = []
        for draw in range(draws):
            example = drawn(part, draw).example
            # Image and label are cut at one place.
            shown = (example.image[0] == 30).int()
            assert torch.equal(shown.bool(), example.label == RIDER) and example.valid.all()
            pixels.append(int(shown.sum()))
        found = np.array(pixels)
        deviation = math.sqrt(expected * (1 - expected) / draws)
        assert abs((found >= enough).mean() - expected) < 4 * deviation
        assert abs(found.mean() - shown_on_average) < 4 * found.std() / math.sqrt(draws)

    def test_the_best_is_taken_if_none_shows_enough(self, tmp_path: Path) -> None:
        """With enough out of reach all places are tried: the mean is that of the maximum."""
        data, crop, retries = hidden(tmp_path), 10, 4
        labels = [read_index_png(tmp_path / f"{number}_label.png") for number in range(2)]
        windows = np.stack(
            [np.lib.stride_tricks.sliding_window_view(one == 30, (crop, crop)) for one in labels]
        ).sum(axis=(3, 4))
        means = [mean_shown(one.ravel(), 10**9, retries + 1) for one in windows]
        part = sampled(
            data,
            temperature=0.0001,
            min_pixels=3000,
            min_crop_share=1,
            retries=retries,
            crop=(crop, crop),
        )
        found = [int((drawn(part, k).example.label == RIDER).sum()) for k in range(1000)]
        assert np.mean(found) == pytest.approx(np.mean(means), abs=4 * np.std(found) / 1000**0.5)

    def test_without_a_share_any_crop_will_do(self, tmp_path: Path) -> None:
        data = hidden(tmp_path)
        once = sampled(data, temperature=0.0001, min_crop_share=0, retries=10)
        never = sampled(data, temperature=0.0001, min_crop_share=0.5, retries=0)
        for draw in range(10):
            one, other = drawn(once, draw).example, drawn(never, draw).example
            assert torch.equal(one.image, other.image)


class TestPurity:
    def test_workers_and_a_later_start_change_nothing(self, dataset: SegmentationDataset) -> None:
        def taken(first: int, workers: int) -> list[Batch]:
            part = sampled(dataset, retries=10)
            return list(stream_batches(part, 3, first, 7, workers))

        expected = taken(0, 0)
        for first, workers in ((0, 1), (4, 2)):
            for one, other in zip(expected[first:], taken(first, workers), strict=True):
                assert one.ids == other.ids and torch.equal(one.images, other.images)
                assert torch.equal(one.labels, other.labels)

    def test_draws_depend_on_seed_stream_and_number(self, dataset: SegmentationDataset) -> None:
        parts = (sampled(dataset), sampled(dataset, seed=6), sampled(dataset, stream="target"))
        forwards = [tuple(drawn(part, draw).id for draw in range(20)) for part in parts]
        assert len(set(forwards)) == 3
        backwards = [drawn(parts[0], draw).id for draw in reversed(range(20))]
        assert forwards[0] == tuple(reversed(backwards))

    def test_one_image_is_drawn_anew_each_time(self, tmp_path: Path) -> None:
        part = sampled(write(tmp_path, [label_of({20: 5, 30: 300})]), min_pixels=3000, retries=3)
        views = [drawn(part, draw).example for draw in range(12)]
        assert len({one.image.numpy().tobytes() for one in views}) > 6

    def test_an_image_that_comes_twice_in_an_epoch_is_augmented_anew(
        self, dataset: SegmentationDataset
    ) -> None:
        part = sampled(dataset, temperature=0.0001)
        views = [drawn(part, draw) for draw in range(6)]
        assert {one.id for one in views} == {"s2"}
        assert len({one.example.image.numpy().tobytes() for one in views}) > 3


class TestBadSamples:
    def test_another_image_of_the_class_stands_for_one(
        self, dataset: SegmentationDataset, tmp_path: Path
    ) -> None:
        whole = [drawn(sampled(dataset), draw) for draw in range(60)]
        (tmp_path / "4.png").write_bytes((tmp_path / "4.png").read_bytes()[:-30])
        part = sampled(dataset, bad_share=1 / 6)
        assert part.sampler is not None
        for draw, before in enumerate(whole):
            found = drawn(part, draw)
            if before.id != "s4":  # as if nothing had been
                assert torch.equal(found.example.image, before.example.image)
                continue
            assert [one.id for one in found.skipped] == ["s4"]
            wanted = part.sampler.draw(draw)[1].train_id
            assert found.id in ({"s0"} if wanted == PERSON else {"s5"})
        with pytest.raises(DataError, match=r"4\.png"):
            list(stream_batches(sampled(dataset), 1, 0, 60, 0))

    def test_no_image_of_the_class_is_left(
        self, dataset: SegmentationDataset, tmp_path: Path
    ) -> None:
        """Any other one is taken; one whose label cannot be read is not drawn by a class."""
        (tmp_path / "2.png").write_bytes(b"")
        part = sampled(dataset, temperature=0.0001, bad_share=0.5)
        assert {drawn(part, draw).id for draw in range(20)} == {"s0"}
        (tmp_path / "2_label.png").write_bytes(b"")
        part = sampled(dataset, temperature=0.0001, bad_share=0.5)
        found = [drawn(part, draw) for draw in range(20)]
        assert {one.id for one in found} == {"s4"} and not any(one.skipped for one in found)
