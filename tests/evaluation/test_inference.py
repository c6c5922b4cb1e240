from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from mixseg.errors import ConfigError
from mixseg.evaluation import inference
from mixseg.evaluation.inference import (
    InferenceMode,
    evaluating,
    predict_labels,
    predict_probabilities,
    resized_argmax,
    window_starts,
)
from tests.evaluation.toys import PerPixel


def random_images(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def sizes(most: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(1, most), st.integers(1, most))


class Blur(nn.Module):
    """Looks at neighbors, but treats left and right alike."""

    def forward(self, images: Tensor) -> Tensor:
        return 5 * functional.avg_pool2d(images, 5, stride=1, padding=2)


class Position(nn.Module):
    """Its two classes are the left and the right half of whatever it is shown."""

    def forward(self, images: Tensor) -> Tensor:
        width = images.shape[-1]
        right = (torch.arange(width) >= width / 2).float().expand_as(images[:, :1])
        return 100 * torch.cat([1 - right, right], dim=1)


@given(length=st.integers(1, 500), window=st.integers(1, 200), stride=st.floats(0.01, 1))
@settings(deadline=None)
def test_windows_cover_a_side_and_stay_inside(length: int, window: int, stride: float) -> None:
    window = min(window, length)
    starts = window_starts(length, window, stride)
    assert starts[0] == 0
    assert starts[-1] == length - window
    steps = [after - before for before, after in pairwise(starts)]
    assert all(0 < step <= max(1, window * stride) for step in steps)
    assert window_starts(2048, 768, 2 / 3) == [0, 512, 1024, 1280]  # a third overlaps


def test_sliding_a_per_pixel_model_equals_the_whole() -> None:
    model = PerPixel()
    for size, slide in (
        ((1, 1), (8, 8)),
        ((1, 90), (100, 7)),
        ((17, 5), (8, 8)),
        ((40, 64), (16, 24)),
    ):
        images, mode = random_images(2, 3, *size), InferenceMode(slide=slide)
        whole = predict_probabilities(model, images)
        torch.testing.assert_close(predict_probabilities(model, images, mode), whole)
        labels = predict_labels(model, images)
        assert torch.equal(predict_labels(model, images, mode=mode), labels)


def test_a_small_image_fills_a_window_with_the_mean() -> None:
    seen: list[Tensor] = []
    network = nn.Identity()
    network.register_forward_hook(lambda module, arguments, images: seen.append(images))
    image = random_images(1, 3, 2, 10)
    predict_probabilities(network, image, InferenceMode(slide=(4, 8)))
    assert {tuple(window.shape) for window in seen} == {(1, 3, 4, 8)}
    assert torch.equal(seen[0][..., :2, :], image[..., :8])
    assert seen[0][0, :, 3, 0].tolist() == pytest.approx(inference.PADDING_COLOR)


def test_flips_are_undone_before_averaging() -> None:
    images = random_images(2, 3, 12, 19)
    whole = predict_probabilities(Blur(), images)
    torch.testing.assert_close(
        predict_probabilities(Blur(), images, InferenceMode(flip=True)), whole
    )
    halves = predict_probabilities(Position(), torch.zeros(1, 3, 2, 8), InferenceMode(flip=True))
    torch.testing.assert_close(halves, torch.full((1, 2, 2, 8), 0.5))


def test_scales_are_averaged_as_probabilities() -> None:
    model, images = Blur(), random_images(1, 3, 16, 24)
    expected = torch.zeros(1, 3, 16, 24)
    for size in [(8, 12), (16, 24), (32, 48)]:
        scaled = functional.interpolate(images, size=size, mode="bilinear", antialias=size[0] < 16)
        probabilities = model(scaled).softmax(1)
        expected += functional.interpolate(
            probabilities, size=(16, 24), mode="bilinear", antialias=size[0] > 16
        )
    result = predict_probabilities(model, images, InferenceMode(scales=(0.5, 1.0, 2.0)))
    torch.testing.assert_close(result, expected / 3)


@given(
    shape=sizes(40),
    size=st.none() | sizes(50),
    mode=st.builds(
        InferenceMode,
        slide=st.none() | sizes(20),
        stride=st.just(0.5),
        flip=st.booleans(),
        scales=st.lists(st.sampled_from([0.25, 0.5, 1.0, 1.75]), min_size=1, max_size=2).map(tuple),
    ),
)
@settings(max_examples=60, deadline=None)
def test_any_size_in_any_mode(
    shape: tuple[int, int], size: tuple[int, int] | None, mode: InferenceMode
) -> None:
    images = random_images(2, 3, *shape)
    probabilities = predict_probabilities(PerPixel(), images, mode, size=size)
    assert probabilities.shape == (2, 3, *(size or shape))
    assert probabilities.dtype == torch.float32
    torch.testing.assert_close(probabilities.sum(1), torch.ones(2, *probabilities.shape[2:]))
    labels = predict_labels(PerPixel(), images, size, mode)
    assert labels.shape == (2, *probabilities.shape[2:])
    assert labels.dtype == torch.uint8


@given(shape=sizes(12), size=sizes(40), limit=st.integers(1, 2000))
@example(shape=(2, 3), size=(4, 1), limit=1)
@settings(max_examples=80, deadline=None)
def test_bands_give_what_resizing_at_once_gives(
    shape: tuple[int, int], size: tuple[int, int], limit: int
) -> None:
    # Scores of distinct classes lie far apart, so that rounding cannot swap two of them.
    scores = random_images(2, 3, *shape, seed=shape[0] * shape[1])
    whole = resized_argmax(scores, size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inference, "BAND_ELEMENTS", limit)
        banded = resized_argmax(scores, size)
    resized = inference._resize(scores, size).sort(dim=1).values
    clear = resized[:, -1] - resized[:, -2] > 1e-5
    assert torch.equal(banded[clear], whole[clear])


def test_a_result_of_one_column_is_smoothed_row_by_row() -> None:
    columns = torch.tensor([[0.0, 0.6, 0.3], [0.9, 0.0, 0.6]])
    weights = torch.tensor([2.0, 3.0, 2.0]) / 7  # a triangle as wide as the reduction by three
    resized = inference._resize(columns[None, None], (2, 1))
    torch.testing.assert_close(resized.flatten(), columns @ weights)
    enlarged = inference._resize(columns[None, None], (6, 1)).flatten()
    torch.testing.assert_close(enlarged[[0, -1]], columns @ weights)


def test_a_single_pass_computes_no_softmax(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tensor, "softmax", None)
    predict_labels(PerPixel(), random_images(1, 3, 4, 4))


def test_the_mode_of_every_module_is_restored() -> None:
    model = PerPixel().train()
    model.layers[0].eval()  # frozen batch norm
    before = [module.training for module in model.modules()]
    statistics = model.layers[0].running_mean.clone()
    predict_labels(model, random_images(1, 3, 4, 4), mode=InferenceMode(flip=True))
    assert [module.training for module in model.modules()] == before
    with pytest.raises(RuntimeError):  # for two channels
        predict_labels(model, random_images(1, 2, 4, 4))
    assert [module.training for module in model.modules()] == before
    with evaluating(model):
        assert not any(module.training for module in model.modules())
        assert torch.is_inference_mode_enabled()
    assert not torch.is_inference_mode_enabled()
    assert [module.training for module in model.modules()] == before
    assert torch.equal(model.layers[0].running_mean, statistics)


def test_each_forward_pass_runs_in_the_given_context() -> None:
    entered = []

    @contextmanager
    def autocast() -> Iterator[None]:
        entered.append(True)
        with torch.autocast("cpu", torch.bfloat16):
            yield

    mode = InferenceMode(flip=True, scales=(0.5, 1.0))
    result = predict_probabilities(PerPixel(), random_images(1, 3, 8, 8), mode, autocast=autocast)
    assert len(entered) == 4
    assert result.dtype == torch.float32
    torch.testing.assert_close(result.sum(1), torch.ones(1, 8, 8))


def test_a_mode_describes_itself_or_is_refused() -> None:
    averaged = InferenceMode(flip=True, scales=(0.75, 1.0, 1.25)).describe()
    assert "flip" in averaged and "0.75/1/1.25" in averaged
    assert "512x1024" in InferenceMode(slide=(512, 1024)).describe()
    for name, values in (
        ("window", {"slide": (0, 5)}),
        ("stride", {"stride": 0.0}),
        ("stride", {"stride": 1.5}),
        ("scale", {"scales": ()}),
        ("scale", {"scales": (1.0, -1.0)}),
        ("scale", {"scales": (float("nan"),)}),
    ):
        with pytest.raises(ConfigError, match=name):
            InferenceMode(**values)
