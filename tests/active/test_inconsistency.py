"""The measure against plain loops, and what it is worth on images whose answer is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor, nn

from mixseg.active.candidates import Candidates
from mixseg.active.how import How
from mixseg.active.inconsistency import Inconsistency, Seen, mean_over_classes, seen_by
from mixseg.active.selection import Networks, select
from mixseg.augmentation.strong import StrongAugmentation
from mixseg.mixing import ClassMix, Mixer
from mixseg.models.wrapped import wrap
from tests.evaluation.toys import picture, write_dataset
from tests.models.build import small_model

NOTHING = StrongAugmentation()
"""Without a strength: images stay as they are."""


class Odd(Mixer):
    """Keeps the classes with odd ids."""

    def mask(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        return labels % 2 == 1


def scene(seed: int, size: tuple[int, int] = (24, 40)) -> Seen:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(256, (3, *size), generator=generator, dtype=torch.uint8)
    labels = torch.randint(5, size, generator=generator, dtype=torch.uint8)
    return Seen(image, labels, torch.zeros(size), torch.zeros(1))


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_the_measure_is_that_of_plain_loops(batch_size: int) -> None:
    student = small_model(seed=1).eval()
    own, *others = (scene(seed) for seed in range(3))
    measure = Inconsistency(student, Odd(), NOTHING, views=5, batch_size=batch_size)
    found, counted = measure(own, others, "key")

    height, width = own.labels.shape
    total, times = np.zeros((height, width)), np.zeros((height, width))
    for view in range(5):
        other = others[view % 2]
        mixed = np.empty((3, height, width), dtype=np.float32)
        shows = np.zeros((height, width), dtype=bool)
        for y in range(height):
            for x in range(width):
                if view % 2 == 0:  # odd classes of the image on the other one
                    shows[y, x] = own.labels[y, x] % 2 == 1
                else:  # odd classes of the other one on the image
                    shows[y, x] = other.labels[y, x] % 2 == 0
                pixel = own.image if shows[y, x] else other.image
                mixed[:, y, x] = pixel[:, y, x] / 255
        with torch.no_grad():
            logits = student(torch.from_numpy(mixed)[None])[0].double().numpy()
        for y in range(height):
            for x in range(width):
                if shows[y, x]:
                    odds = np.exp(logits[:, y, x] - logits[:, y, x].max())
                    total[y, x] += 1 - odds[own.labels[y, x]] / odds.sum()
                    times[y, x] += 1
    assert 0 < (times == 0).sum() < times.size
    assert np.array_equal(counted.numpy(), times > 0)
    expected = np.divide(total, times, out=np.zeros_like(total), where=times > 0)
    assert np.allclose(found.numpy(), expected, atol=1e-5)
    assert found.max() > 0.5


def test_others_may_have_another_size() -> None:
    own, small, large = scene(0), scene(1, (7, 9)), scene(2, (50, 30))
    measure = Inconsistency(small_model(seed=1).eval(), ClassMix(5), NOTHING)
    found, _ = measure(own, [small, large], "key")
    assert found.shape == own.labels.shape
    assert not torch.equal(found, measure(own, [own], "key")[0])


class Colors(nn.Module):
    """Logits that are the channels, times a factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, images: Tensor) -> Tensor:
        return self.factor * images


def plain(module: nn.Module) -> nn.Module:
    return wrap(module, 3, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)).eval()


def test_entropy_labels_and_features() -> None:
    image = scene(0).image
    seen = seen_by(plain(Colors(4.0)), image)  # type: ignore[arg-type]
    odds = np.exp(4 * (image.numpy() / 255))
    expected = scipy.stats.entropy(odds, axis=0) / np.log(3)
    assert np.allclose(seen.entropy.numpy(), expected, atol=2e-3)  # in half precision
    assert np.array_equal(seen.labels.numpy(), image.numpy().argmax(axis=0))
    assert np.allclose(seen.features, 4 / 255 * image.numpy().mean(axis=(1, 2)), atol=1e-4)


@pytest.mark.parametrize("balance", [0.0, 0.3, 1.0])
def test_small_classes_count_more(balance: float) -> None:
    rng = np.random.default_rng(0)
    values = rng.random((20, 30))
    labels = rng.choice(4, p=[0.9, 0.09, 0.01, 0], size=(20, 30)).astype(np.uint8)
    counted = rng.random((20, 30)) < 0.7
    kept = [values[counted & (labels == one)] for one in range(3)]
    weights = [len(one) ** (1 - balance) for one in kept]
    expected = np.average([one.mean() for one in kept], weights=weights)
    given = [torch.from_numpy(one) for one in (values, labels, counted)]
    found = mean_over_classes(given[0], given[1], given[2], 4, balance)
    assert float(found) == pytest.approx(expected)
    if balance == 0:
        assert float(found) == pytest.approx(values[counted].mean())
    nothing = torch.zeros(20, 30, dtype=torch.bool)
    assert mean_over_classes(given[0], given[1], nothing, 4, balance) == 0


# Choosing ---------------------------------------------------------------------------------------


class RedAlone(nn.Module):
    """The brightest channel, but red is recognized in images that are all red alone."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        partly = (images[:, 0].mean(dim=(1, 2)) < 0.99).view(-1, 1, 1)
        red, green, blue = images.unbind(dim=1)
        seen = torch.stack([red * ~partly, green + red * partly, blue], dim=1)
        return 20 * seen + self.unused


@pytest.fixture
def pool(tmp_path: Path) -> Candidates:
    """Images of green and blue, and the fourth, which is red."""
    rng = np.random.default_rng(0)
    labels = [rng.integers(1, 3, (16, 24)).astype(np.uint8) for _ in range(7)]
    labels[3] = np.zeros((16, 24), dtype=np.uint8)
    dataset = write_dataset(tmp_path, labels)
    return Candidates(dataset, tuple(range(len(dataset))))


def networks() -> Networks:
    network = plain(RedAlone())
    device, nothing = torch.device("cpu"), torch.no_grad
    return Networks(network, network, ClassMix(3), NOTHING, None, device, nothing)  # type: ignore[arg-type]


@pytest.mark.parametrize("diversity", [0.0, 0.5])
def test_what_is_not_recognized_among_others_comes_first(
    pool: Candidates, diversity: float
) -> None:
    # By itself each image is clear: mixing alone tells.
    assert all(networks().see(pool.dataset, index).entropy.max() < 0.01 for index in pool.indices)
    found = select(networks(), pool, How(3, diversity=diversity))
    assert found.chosen[0] == 3
    assert found.scores[3] > 0.2 > 1e-3 > max(found.scores[i] for i in pool.indices if i != 3)


def test_the_same_choice_whatever_the_batch(pool: Candidates) -> None:
    network = small_model(seed=1, num_classes=3).eval()
    other = small_model(seed=2, num_classes=3).eval()
    jitter = StrongAugmentation(0.25, blur=True)
    device = torch.device("cpu")
    several = Networks(other, network, ClassMix(3), jitter, (32, 48), device, torch.no_grad)
    one, same, again, further = (
        select(several, pool, How(4, seed=seed, batch_size=size, views=6))
        for seed, size in ((0, 1), (0, 1), (0, 4), (1, 1))
    )
    assert one.scores == same.scores and one.chosen == same.chosen == again.chosen
    assert one.scores == pytest.approx(again.scores, abs=1e-5)
    assert one.scores != further.scores
    assert len(set(one.chosen)) == 4


def test_one_image_and_damaged_ones(pool: Candidates, caplog: pytest.LogCaptureFixture) -> None:
    assert select(networks(), Candidates(pool.dataset, (3,)), How(5)).chosen == (3,)
    for index in (0, 4, 5):
        pool.dataset.samples[index].image.write_bytes(b"no picture")

    def read(path: Path, target: object) -> np.ndarray:
        from mixseg.data.images import read_image

        return read_image(path)

    object.__setattr__(pool.dataset, "read_raw_image", read)
    found = select(networks(), pool, How(100))
    assert sorted(found.chosen) == [1, 2, 3, 6] and found.chosen[0] == 3
    for name in ("000.png", "004.png", "005.png"):
        assert caplog.text.count(name) == 1


def test_random_is_any_image_and_asks_no_network(pool: Candidates) -> None:
    chosen = {select(None, pool, How(2, "random", seed=seed)).chosen for seed in range(100)}
    assert len(chosen) > 20
    assert {index for pair in chosen for index in pair} == set(pool.indices)
    assert all(len(set(pair)) == 2 for pair in chosen)


def test_pictures_show_their_labels(pool: Candidates) -> None:
    labels = networks().see(pool.dataset, 1).labels.numpy()
    assert np.array_equal(picture(labels), pool.dataset.image(1))
