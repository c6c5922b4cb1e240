"""Learned upsampling starts as bilinear interpolation and is cropped to size."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.nn import functional

from mixseg.config.sections import ModelSettings
from mixseg.models import ModelSpec, build_initial_model, build_model, load_weights
from mixseg.models.upsampling import LearnedUpsampling
from tests.models.build import SMALL

LEARNED = dataclasses.replace(SMALL, upsampling="learned")


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_a_network_starts_as_the_one_with_bilinear_upsampling(stride: int) -> None:
    learned = build_model(dataclasses.replace(LEARNED, output_stride=stride)).eval()
    plain = build_model(
        dataclasses.replace(SMALL, output_stride=stride, align_corners=False)
    ).eval()
    plain.load_state_dict(
        {key: value for key, value in learned.state_dict().items() if key != "upsampling.weight"}
    )
    images = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        torch.testing.assert_close(learned(images), plain(images))


def test_is_a_transposed_convolution_between_all_classes() -> None:
    torch.manual_seed(0)
    layer = LearnedUpsampling(3, 2)
    assert layer.weight.shape == (3, 3, 4, 4)
    torch.nn.init.normal_(layer.weight)
    logits = torch.randn(1, 3, 6, 7)
    # By the definition, pixel by pixel: cell (i, j) puts its kernel at rows 2i - 1 to 2i + 2.
    expected = torch.zeros(3, 16, 18)
    for i in range(6):
        for j in range(7):
            kernel = torch.einsum("i,iohw->ohw", logits[0, :, i, j], layer.weight)
            expected[:, 2 * i + 1 : 2 * i + 5, 2 * j + 1 : 2 * j + 5] += kernel
    found = layer(logits, (12, 14))
    torch.testing.assert_close(found[0, :, 1:-1, 1:-1], expected[:, 3:13, 3:15])
    with pytest.raises(ValueError, match="even, found 3"):
        LearnedUpsampling(2, 3)


@pytest.mark.parametrize("size", [(1, 1), (9, 16), (33, 5)])
def test_any_size_continues_the_same_picture(size: tuple[int, int]) -> None:
    """Cropped at the bottom and on the right; beyond the map, its border goes on."""
    layer, logits = LearnedUpsampling(2, 8), torch.randn(1, 2, 2, 2)
    whole = functional.pad(layer(logits, (16, 16)), (0, 24, 0, 24), mode="replicate")
    torch.testing.assert_close(layer(logits, size), whole[..., : size[0], : size[1]])


def test_specifications_from_before_the_setting_are_bilinear() -> None:
    content = SMALL.to_json()
    del content["upsampling"]
    assert ModelSpec.from_json(content) == SMALL
    with pytest.raises(TypeError, match="num_classes"):
        ModelSpec.from_json({key: content[key] for key in content if key != "num_classes"})
    settings = ModelSettings(backbone="test_resnet", weights="none", upsampling="learned")
    assert build_initial_model(settings, {}, 5, seed=0)[0].spec.upsampling == "learned"


@pytest.mark.parametrize(("file", "classes"), [("bilinear", 5), ("learned", 5), ("learned", 7)])
def test_weight_files(file: str, classes: int) -> None:
    """Without upsampling a file leaves it as interpolation and still brings its classifier."""
    spec = dataclasses.replace(SMALL, upsampling=file, num_classes=classes)  # type: ignore[arg-type]
    content = build_model(spec).state_dict()
    if file == "learned":
        torch.nn.init.normal_(content["upsampling.weight"])
    model = build_model(LEARNED)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    report = load_weights(model, content, "file")
    assert report.head == (classes == 5)
    assert report.missing == (("upsampling.weight",) if file == "bilinear" else ())
    for key, value in model.state_dict().items():
        taken = key in content and (report.head or key.startswith("backbone."))
        if not key.endswith("num_batches_tracked"):
            assert torch.equal(value, (content if taken else before)[key]), key
