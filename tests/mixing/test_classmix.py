from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction
from itertools import permutations
from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import Tensor

from mixseg.errors import ConfigError
from mixseg.ignore import IGNORE
from mixseg.mixing import ClassMix, segments
from mixseg.mixing.segments import IDS


def random_labels(classes: int, seed: int, shape: tuple[int, int, int] = (3, 9, 11)) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, shape, generator=random)
    # Images in which some classes do not occur at all.
    absent = torch.rand(shape[0], classes, generator=random) < 0.3
    return labels.masked_fill(absent.gather(1, labels.flatten(1)).view(shape), IGNORE)


@settings(max_examples=80, deadline=None)
@given(
    classes=st.integers(1, 25),
    proportion=st.sampled_from(["0", "0.07", "0.25", "0.29", "0.5", "0.55", "0.7", "1"]),
    rounding=st.sampled_from(["ceil", "floor"]),
    ignore_is_class=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_the_mask_is_a_union_of_that_many_whole_classes(
    classes: int,
    proportion: str,
    rounding: Literal["ceil", "floor"],
    ignore_is_class: bool,
    seed: int,
) -> None:
    labels = random_labels(classes, seed)
    mixer = ClassMix(classes, float(proportion), rounding, ignore_is_class=ignore_is_class)
    mask = mixer.mask(labels, torch.Generator().manual_seed(seed))
    round_exactly = math.ceil if rounding == "ceil" else math.floor
    for image, keep in zip(labels, mask, strict=True):
        kept, left = set(image[keep].tolist()), set(image[~keep].tolist())
        assert not kept & left, "a class is kept whole or not at all"
        assert ignore_is_class or IGNORE not in kept
        present = (kept | left) - (set() if ignore_is_class else {IGNORE})
        # The proportion is what a person wrote, not its nearest binary fraction.
        assert len(kept) == round_exactly(Fraction(proportion) * len(present))


def test_a_whole_number_of_classes_is_not_rounded_up() -> None:
    labels = torch.arange(100).view(1, 1, -1)
    mask = ClassMix(100, 0.07).mask(labels, torch.Generator().manual_seed(0))
    assert int(mask.sum()) == 7


def test_classes_are_drawn_uniformly_and_each_image_on_its_own() -> None:
    # Classes of very different area, in two images of a batch.
    areas = [1, 2, 4, 8, 16, 33]
    row = torch.cat([torch.full((area,), label) for label, area in enumerate(areas)])
    labels = row.view(1, 1, -1).expand(2, 1, -1)
    mixer, random = ClassMix(6), torch.Generator().manual_seed(0)
    starts = torch.tensor([0, *torch.tensor(areas).cumsum(0)[:-1].tolist()])
    draws = 2000
    kept = torch.stack([mixer.mask(labels, random)[:, 0, starts] for _ in range(draws)])
    assert (kept.sum(dim=2) == 3).all()
    for image in range(2):
        # 20 possible sets of 3 out of 6, all equally likely.
        codes = (kept[:, image].long() * 2 ** torch.arange(6)).sum(1)
        _, counts = codes.unique(return_counts=True)
        assert len(counts) == 20
        assert chisquare(counts.numpy()).pvalue > 1e-3
    both = (kept[:, 0] == kept[:, 1]).all(dim=1).double().mean()
    assert both < 0.1, "two images of a batch draw independently (1 in 20 agree by chance)"


def test_unlabeled_regions_are_drawn_as_often_as_a_class() -> None:
    labels = torch.tensor([[[0, 3, IGNORE, IGNORE]]])
    mixer, random = ClassMix(5, 1 / 3, ignore_is_class=True), torch.Generator().manual_seed(0)
    kept = torch.stack([mixer.mask(labels, random)[0, 0] for _ in range(600)])
    assert (kept[:, 2] == kept[:, 3]).all()
    assert (kept[:, :3].sum(dim=1) == 1).all()
    assert chisquare(kept[:, :3].sum(dim=0).numpy()).pvalue > 1e-3


def test_254_classes_leave_room_for_ignore() -> None:
    labels = torch.tensor([[[0, 253, 255, 254]]])
    mask = ClassMix(254, 1.0).mask(labels, torch.Generator().manual_seed(0))
    assert mask.tolist() == [[[True, True, False, False]]]


NAMES = ("road", "pole", "traffic sign", "rider", "bicycle", "sky")
GROUPS = ("pole + traffic sign", "bicycle+rider+pole")


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), proportion=st.sampled_from([0.2, 0.5]))
def test_what_shares_a_group_with_a_drawn_class_is_kept_as_well(
    seed: int, proportion: float
) -> None:
    labels = random_labels(len(NAMES), seed)
    alone = ClassMix(len(NAMES), proportion)
    mixer = ClassMix(len(NAMES), proportion, together=GROUPS, class_names=NAMES)
    drawn, mask = (one.mask(labels, torch.Generator().manual_seed(seed)) for one in (alone, mixer))
    groups = [{NAMES.index(name.strip()) for name in group.split("+")} for group in GROUPS]
    for image, first, keep in zip(labels, drawn, mask, strict=True):
        expected = set(image[first].tolist())
        for label in tuple(expected):
            expected.update(*(group for group in groups if label in group))
        present = set(image.flatten().tolist()) - {IGNORE}
        assert set(image[keep].tolist()) == expected & present
        assert not set(image[~keep].tolist()) & expected


def test_groups_that_the_labels_show_are_given_by_the_run() -> None:
    related = torch.zeros(3, 3, dtype=torch.bool)
    related[0, 2] = related[2, 0] = True
    labels = torch.tensor([[[0, 1, 2, IGNORE]]])
    mixer = ClassMix(3, 0.3, together=("auto",), related=related)
    masks = [mixer.mask(labels, torch.Generator().manual_seed(s))[0, 0].tolist() for s in range(20)]
    assert {*map(tuple, masks)} == {(True, False, True, False), (False, True, False, False)}
    with pytest.raises(ConfigError, match="auto needs the labels"):
        ClassMix(3, together=("auto",))


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        (("pole+sign",), "unknown class 'sign'"),
        (("pole",), "two or more different classes"),
        (("pole+",), "two or more different classes"),
        (("pole+ pole",), "two or more different classes"),
        (("auto", "rider+bicycle"), "auto stands alone"),
    ],
)
def test_what_is_no_group_is_refused(groups: tuple[str, ...], words: str) -> None:
    with pytest.raises(ConfigError, match=r"mixing\.together.*" + words):
        ClassMix(len(NAMES), together=groups, class_names=NAMES)


def test_segments_are_instances_and_classes_without_any() -> None:
    random = torch.Generator().manual_seed(0)
    labels = random_labels(6, 0, (2, 12, 14))
    number = torch.randint(0, 5, labels.shape, generator=random)
    # As in Cityscapes: things of classes 3 and above have ids, some of them none.
    things = (labels >= 3) & (number > 0)
    instances = torch.where(things, 1000 * (24 + labels) + number, 0).int()
    found = segments(labels, instances)
    for image, ids, segment in zip(labels, instances, found, strict=True):
        pairs = {
            (int(a), int(b) if a != IGNORE else 0)
            for a, b in zip(image.flatten(), ids.flatten(), strict=True)
        }
        seen = {(int(a), int(s)) for a, s in zip(image.flatten(), segment.flatten(), strict=True)}
        assert len(seen) == len(pairs) == len({s for _, s in seen}), "one segment for each"
    assert torch.equal(found % IDS, labels)
    assert torch.equal(segments(labels, None), labels)


@pytest.mark.parametrize("proportion", [0.25, 0.5, 1.0])
def test_half_of_the_things_are_kept_whole(proportion: float) -> None:
    labels = random_labels(8, 3, (4, 16, 18))
    number = torch.randint(0, 9, labels.shape, generator=torch.Generator().manual_seed(1))
    instances = torch.where(labels >= 4, 1000 * (20 + labels) + number, 0).int()
    mixer = ClassMix(8, proportion, instances=True)
    whole = segments(labels, instances)
    random = torch.Generator().manual_seed(2)
    mask = mixer.mask_of_labeled(labels, instances, random)
    for image, keep in zip(whole, mask, strict=True):
        kept, left = set(image[keep].tolist()), set(image[~keep].tolist())
        assert not kept & left and IGNORE not in kept
        assert len(kept) == math.ceil(proportion * len((kept | left) - {IGNORE}))
    again = mixer.mask_of_labeled(labels, instances, torch.Generator().manual_seed(2))
    assert torch.equal(mask, again)
    # Other mixers see classes.
    plain = ClassMix(8, proportion)
    found = plain.mask_of_labeled(labels, instances, torch.Generator().manual_seed(2))
    assert torch.equal(found, plain.mask(labels, torch.Generator().manual_seed(2)))


def test_rare_things_and_what_belongs_to_them() -> None:
    """A rider is drawn before other things, and bicycles come with it."""
    road, rider, bicycle = 0, 3, 4
    labels = torch.tensor([[[road, rider, rider, bicycle, bicycle, 5, 5, 5]]])
    instances = torch.tensor([[[0, 25000, 25001, 33000, 33001, 26000, 26001, 26002]]]).int()
    shares = torch.tensor([0.9, 0.0, 0.0, 0.001, 0.04, 0.059])
    mixer = ClassMix(
        6,
        0.1,
        together=("rider+bicycle",),
        rare_temperature=0.001,
        instances=True,
        class_names=NAMES,
        class_shares=shares,
    )
    found = set()
    for seed in range(30):
        mask = mixer.mask_of_labeled(labels, instances, torch.Generator().manual_seed(seed))
        found.add(tuple(mask.flatten().tolist()))
    riders = ((True, False), (False, True))
    assert found == {(False, *one, True, True, False, False, False) for one in riders}


def sequential(weights: list[float], count: int) -> dict[frozenset[int], float]:
    """Probability of each set of so many classes, drawn one after another by their weights."""
    found: dict[frozenset[int], float] = {}
    for order in permutations(range(len(weights)), count):
        probability, left = 1.0, sum(weights)
        for one in order:
            probability *= weights[one] / left
            left -= weights[one]
        key = frozenset(order)
        found[key] = found.get(key, 0) + probability
    return found


def test_rare_classes_are_drawn_by_their_weights_without_replacement() -> None:
    shares = torch.tensor([0.5, 0.3, 0.0, 0.15, 0.05])
    temperature, draws = 0.25, 4000
    weights = [math.exp((1 - share) / temperature) for share in shares.tolist()]
    labels = torch.tensor([[[0, 1, 3, 4]]]).expand(draws, 1, -1)  # class 2 is not there
    mixer = ClassMix(5, rare_temperature=temperature, class_shares=shares)
    mask = mixer.mask(labels, torch.Generator().manual_seed(0))[:, 0]
    expected = sequential([weights[label] for label in (0, 1, 3, 4)], 2)
    found = Counter(frozenset(row.nonzero().flatten().tolist()) for row in mask)
    counts = [found[key] for key in expected]
    assert sum(counts) == draws
    assert chisquare(counts, [draws * one for one in expected.values()]).pvalue > 1e-3


def test_at_a_low_temperature_the_rarest_classes_are_taken() -> None:
    shares = torch.linspace(0.3, 0.0, 12)
    labels = torch.tensor([[[11, 3, 7, 0]]])
    mixer = ClassMix(12, rare_temperature=0.0001, class_shares=shares)
    for seed in range(20):
        mask = mixer.mask(labels, torch.Generator().manual_seed(seed))
        assert mask.tolist() == [[[True, False, True, False]]]
    with pytest.raises(ConfigError, match="share of each class"):
        ClassMix(12, rare_temperature=0.1)
