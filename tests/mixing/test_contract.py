"""What every mixer promises; a new entry of MIXERS is tested by being there."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mixseg.config.sections import MixingSettings
from mixseg.errors import ConfigError
from mixseg.ignore import IGNORE
from mixseg.mixing import MIXERS, build_mixer, paste, with_partner

CLASSES = 6
SHAPES = [(1, 8, 8), (2, 1, 1), (3, 7, 13), (1, 1, 1), (2, 1, 40), (2, 40, 1), (5, 3, 2)]

every_mixer = pytest.mark.parametrize("name", sorted(MIXERS))


def random_labels(shape: tuple[int, int, int], seed: int = 0) -> Tensor:
    """Labels of all classes, a fifth of them ignored."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, shape, generator=random)
    return labels.masked_fill(torch.rand(shape, generator=random) < 0.2, IGNORE)


def draw_mask(name: str, labels: Tensor, seed: int, **settings: object) -> Tensor:
    mixer = build_mixer(MixingSettings(mixer=name, **settings), CLASSES)  # type: ignore[arg-type]
    return mixer.mask(labels, torch.Generator().manual_seed(seed))


@every_mixer
@pytest.mark.filterwarnings("error")
class TestEveryMixer:
    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("proportion", [0.0, 0.25, 0.5, 1.0])
    def test_mask_has_the_shape_of_the_labels(
        self, name: str, shape: tuple[int, int, int], proportion: float
    ) -> None:
        labels = random_labels(shape)
        mask = draw_mask(name, labels, 0, proportion=proportion)
        assert mask.shape == labels.shape
        assert mask.dtype == torch.bool
        assert mask.device == labels.device

    def test_labels_stay_as_they_are(self, name: str) -> None:
        labels = random_labels((2, 9, 9))
        before = labels.clone()
        draw_mask(name, labels, 0)
        assert torch.equal(labels, before)

    def test_the_generator_alone_decides(self, name: str) -> None:
        labels = random_labels((3, 24, 32))
        torch.manual_seed(1)
        first = draw_mask(name, labels, 7)
        torch.manual_seed(2)
        assert torch.equal(first, draw_mask(name, labels, 7))

    def test_global_random_state_is_untouched(self, name: str) -> None:
        torch.manual_seed(3)
        before = torch.get_rng_state()
        draw_mask(name, random_labels((2, 16, 16)), 0)
        assert torch.equal(before, torch.get_rng_state())

    def test_other_seeds_give_other_masks_unless_all_is_kept(self, name: str) -> None:
        labels = random_labels((2, 24, 32))
        masks = [draw_mask(name, labels, seed) for seed in range(8)]
        if name == "none":
            assert all(mask.all() for mask in masks)
        else:
            assert any(not torch.equal(masks[0], mask) for mask in masks[1:])

    def test_a_labelling_without_any_class_is_no_error(self, name: str) -> None:
        labels = torch.full((2, 8, 8), IGNORE)
        assert draw_mask(name, labels, 0).shape == labels.shape

    def test_an_image_alone_in_its_batch_stays_as_it_is(self, name: str) -> None:
        labels = random_labels((1, 12, 10))
        images = torch.rand(1, 3, 12, 10)
        assert torch.equal(with_partner(draw_mask(name, labels, 0), images), images)

    @settings(max_examples=25, deadline=None)
    @given(
        batch=st.integers(1, 4),
        height=st.integers(1, 33),
        width=st.integers(1, 33),
        seed=st.integers(0, 2**32),
        proportion=st.sampled_from([0.1, 0.5, 0.9]),
    )
    def test_every_pixel_comes_from_one_source_with_all_that_belongs_to_it(
        self, name: str, batch: int, height: int, width: int, seed: int, proportion: float
    ) -> None:
        labels = random_labels((batch, height, width), seed)
        mask = draw_mask(name, labels, seed, proportion=proportion)
        # Image, label and weight all say which image they are from, and where in it they lay.
        source = torch.arange(batch).view(-1, 1, 1).expand(batch, height, width)
        place = torch.arange(height * width).view(1, height, width).expand_as(source)
        code = source * height * width + place
        images = torch.stack([code.float(), -code.float(), code.float() + 0.5], dim=1)
        mixed_images = with_partner(mask, images)
        mixed_source = with_partner(mask, source)
        mixed_weights = with_partner(mask, code.double() / 7)
        for b in range(batch):
            partner = (b + 1) % batch
            expected = torch.where(mask[b], source[b], source[partner])
            assert torch.equal(mixed_source[b], expected)
            expected_code = expected * height * width + place[b]
            assert torch.equal(mixed_images[b, 0], expected_code.float())
            assert torch.equal(mixed_images[b, 1], -expected_code.float())
            assert torch.equal(mixed_images[b, 2], expected_code.float() + 0.5)
            assert torch.equal(mixed_weights[b], expected_code.double() / 7)


class TestPaste:
    @pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32, torch.bool])
    def test_keeps_dtype(self, dtype: torch.dtype) -> None:
        own, other = torch.ones(2, 4, 4).to(dtype), torch.zeros(2, 4, 4).to(dtype)
        mask = torch.rand(2, 4, 4) < 0.5
        mixed = paste(mask, own, other)
        assert mixed.dtype == dtype
        assert torch.equal(mixed.bool(), mask)

    def test_broadcasts_over_channels_not_over_the_batch(self) -> None:
        mask = torch.zeros(3, 2, 2, dtype=torch.bool)
        mask[1] = True
        mixed = paste(mask, torch.ones(3, 3, 2, 2), torch.zeros(3, 3, 2, 2))
        assert mixed.sum(dim=(1, 2, 3)).tolist() == [0, 12, 0]


def test_unknown_mixer_names_the_closest() -> None:
    with pytest.raises(ConfigError, match=r"unknown mixer 'clasmix'.*'classmix'.*cutmix"):
        build_mixer(MixingSettings(mixer="clasmix"), CLASSES)
