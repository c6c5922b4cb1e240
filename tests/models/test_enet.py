"""ENet as Table 1 and Figure 2 of its paper have it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mixseg.config.sections import ModelSettings
from mixseg.errors import ConfigError
from mixseg.models import (
    SegmentationModel,
    build_initial_model,
    build_model,
    check_model_settings,
)
from mixseg.models.enet import (
    DownsamplingBottleneck,
    Encoded,
    InitialBlock,
    UpsamplingBottleneck,
    unpool,
)
from tests.models.build import MEAN, SMALL, STD

SPEC = dataclasses.replace(SMALL, architecture="enet", backbone="none", output_stride=8)


def enet() -> SegmentationModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_model(SPEC)


@pytest.fixture(scope="module")
def paper() -> SegmentationModel:
    """The network for Cityscapes without storage: shapes and geometry need no weights."""
    with torch.device("meta"):
        return build_model(dataclasses.replace(SPEC, num_classes=19)).eval()


def silence(branch: nn.Module) -> None:
    """Let the branch of a bottleneck give zeros, so that only the main branch is left."""
    norm = [layer for layer in branch.modules() if isinstance(layer, nn.BatchNorm2d)][-1]
    nn.init.zeros_(norm.weight)
    nn.init.zeros_(norm.bias)


def windows(image: Tensor) -> Iterator[tuple[slice, slice]]:
    for row in range(0, image.shape[-2], 2):
        for column in range(0, image.shape[-1], 2):
            yield slice(row, row + 2), slice(column, column + 2)


class TestTable:
    def test_parameters(self, paper: SegmentationModel) -> None:
        # Counted from the table: no biases; two numbers a channel for each batch norm, one for
        # each PReLU. A bottleneck has a quarter of its channels inside.
        def bottleneck(
            inputs: int, outputs: int, middle: list[int], slope: int, projection: int = 1
        ) -> int:
            width = outputs // 4
            inside = inputs * width * projection + sum(taps * width * width for taps in middle)
            inside += (1 + len(middle)) * (2 + slope) * width
            return inside + width * outputs + 2 * outputs + slope * outputs

        encoder = 13 * 3 * 9 + 3 * 16
        encoder += bottleneck(16, 64, [9], 1, projection=4)
        encoder += 4 * bottleneck(64, 64, [9], 1)
        encoder += bottleneck(64, 128, [9], 1, projection=4)
        encoder += 2 * (6 * bottleneck(128, 128, [9], 1) + 2 * bottleneck(128, 128, [5, 5], 1))
        decoder = bottleneck(128, 64, [9], 0) + 128 * 64 + 2 * 64
        decoder += 2 * bottleneck(64, 64, [9], 0)
        decoder += bottleneck(64, 16, [9], 0) + 64 * 16 + 2 * 16
        decoder += bottleneck(16, 16, [9], 0)
        decoder += 16 * 19 * 9
        found = sum(parameter.numel() for parameter in paper.parameters())
        assert found == encoder + decoder
        # The paper says 0.37 million, others 0.36.
        assert found == pytest.approx(0.36e6, rel=0.03)
        assert f"{found / 1e6:.2f}" == "0.37"

    def test_sizes_for_512x512(self, paper: SegmentationModel) -> None:
        sizes: list[tuple[int, int]] = []

        def remember(layer: object, inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
            first = output[0] if isinstance(output, tuple) else output
            sizes.append((first.shape[1], first.shape[2]))

        hooks = [
            child.register_forward_hook(remember)
            for child in (*paper.backbone.children(), *paper.head.children())
        ]
        assert paper(torch.empty(1, 3, 512, 512, device="meta")).shape == (1, 19, 512, 512)
        for hook in hooks:
            hook.remove()
        assert sizes == [
            *((16, 256), (64, 128), (64, 128), (128, 64), (128, 64), (128, 64)),
            *((64, 128), (64, 128), (16, 256), (16, 256), (19, 512)),
        ]

    def test_kernels_and_dilations(self, paper: SegmentationModel) -> None:
        plain = (1, 1)

        def dilated(rate: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
            return [((3, 3), (rate, rate))]

        split = [((5, 1), plain), ((1, 5), plain)]
        section = [
            *(dilated(1), dilated(2), split, dilated(4)),
            *(dilated(1), dilated(8), split, dilated(16)),
        ]
        expected = {"stage1": [dilated(1)] * 4, "stage2": section, "stage3": section}
        for stage, bottlenecks in expected.items():
            blocks = paper.backbone.get_submodule(stage).children()
            for block, middle in zip(blocks, bottlenecks, strict=True):
                convolutions = [x for x in block.modules() if isinstance(x, nn.Conv2d)]
                found = [(x.kernel_size, x.dilation) for x in convolutions]
                assert found == [((1, 1), plain), *middle, ((1, 1), plain)], stage

    def test_dropout_biases_and_activations(self, paper: SegmentationModel) -> None:
        dropouts = [x for x in paper.modules() if isinstance(x, nn.modules.dropout._DropoutNd)]
        assert all(isinstance(layer, nn.Dropout2d) for layer in dropouts)
        # Bottlenecks 1.0 to 1.4; 2.0 to 2.8, 3.1 to 3.8, 4.0 to 4.2, 5.0 and 5.1.
        assert [layer.p for layer in dropouts] == [0.01] * 5 + [0.1] * (9 + 8 + 3 + 2)
        for layer in paper.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                assert layer.bias is None
        encoder, decoder = (
            [type(x) for x in part.modules()] for part in (paper.backbone, paper.head)
        )
        assert nn.PReLU in encoder and nn.ReLU not in encoder
        assert nn.ReLU in decoder and nn.PReLU not in decoder
        # Each convolution but the last is followed by batch norm; here pairs are counted.
        convolutions = sum(kind in (nn.Conv2d, nn.ConvTranspose2d) for kind in encoder + decoder)
        assert (encoder + decoder).count(nn.BatchNorm2d) == convolutions - 1


class TestBlocks:
    def test_the_initial_block_keeps_the_pooled_image(self) -> None:
        block = InitialBlock().eval()
        images = torch.rand(1, 3, 6, 8)
        found = block(images)[0, 13:].flatten(1)
        pooled = torch.stack([images[0, :, a, b].amax((1, 2)) for a, b in windows(images)], dim=1)
        # Batch norm that has seen nothing divides by sqrt(1 + eps).
        torch.testing.assert_close(found, pooled, rtol=1e-4, atol=0)

    def test_downsampling_adds_pooling_and_empty_channels(self) -> None:
        block = DownsamplingBottleneck(2, 8, dropout=0.1).train()
        silence(block.branch)
        x = torch.rand(3, 2, 4, 6)
        found, indices = block(x)
        assert found.shape == (3, 8, 2, 3)
        pooled = torch.stack([x[..., a, b].amax((2, 3)) for a, b in windows(x)], dim=2)
        assert torch.equal(found[:, :2].flatten(2), pooled)
        assert not found[:, 2:].any()
        assert torch.equal(x.flatten(2).gather(2, indices.flatten(2)), pooled)

    def test_unpooling_puts_values_back(self) -> None:
        x = torch.randn(2, 3, 6, 8)
        pooled, indices = functional.max_pool2d(x, 2, return_indices=True)
        for values in (pooled, torch.rand_like(pooled)):
            expected = functional.max_unpool2d(values, indices, 2)
            assert torch.equal(unpool(values, indices), expected)

    def test_upsampling_puts_its_main_branch_where_maxima_were(self) -> None:
        torch.manual_seed(0)
        block = UpsamplingBottleneck(5, 4, dropout=0.1).eval()
        silence(block.branch)
        before = torch.rand(2, 4, 6, 8)
        highest, indices = functional.max_pool2d(before, 2, return_indices=True)
        features = torch.randn(2, 5, 3, 4)
        found = block(features, indices)
        projected = block.main(features).relu()
        assert projected.any()
        torch.testing.assert_close(found.amax((2, 3)), projected.amax((2, 3)))
        spread = functional.interpolate(highest, scale_factor=2)
        assert not found[before != spread].any()


@torch.inference_mode()
def test_each_unpooling_takes_the_indices_of_its_pooling() -> None:
    model, indices = enet().eval(), []
    for name in ("downsampling1", "downsampling2"):
        layer = model.backbone.get_submodule(name)
        layer.register_forward_hook(lambda _, inputs, output: indices.append(output[1]))
    for name in ("upsampling4", "upsampling5"):
        layer = model.head.get_submodule(name)
        layer.register_forward_pre_hook(lambda _, inputs: indices.append(inputs[1]))
    model(torch.rand(1, 3, 32, 48))
    fine, coarse, first, second = indices
    assert torch.equal(first, coarse) and torch.equal(second, fine)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (33, 50)])
@torch.inference_mode()
def test_any_size_is_the_image_padded_with_the_mean_color(height: int, width: int) -> None:
    model = enet().eval()
    images = torch.rand(2, 3, height, width)
    padded = torch.tensor(MEAN).view(1, 3, 1, 1).repeat(2, 1, 64, 64)
    padded[..., :height, :width] = images
    padded = padded[..., : -(-height // 8) * 8, : -(-width // 8) * 8]
    expected = model(padded)[..., :height, :width]
    torch.testing.assert_close(model(images), expected)


@pytest.mark.parametrize("bf16", [False, True])
def test_a_training_step_can_be_repeated(bf16: bool) -> None:
    images = torch.rand(2, 3, 40, 56)

    def gradients() -> list[Tensor]:
        model = enet().train()
        torch.manual_seed(1)  # dropout
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = model(images)
        assert logits.dtype == (torch.bfloat16 if bf16 else torch.float32)
        logits.float().square().mean().backward()
        return [parameter.grad for parameter in model.parameters()]  # type: ignore[misc]

    torch.use_deterministic_algorithms(True)
    try:
        first, second = gradients(), gradients()
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert all(gradient.isfinite().all() and gradient.any() for gradient in first)


def test_changed_features_reach_the_decoder() -> None:
    """As channel dropout does: only the coarsest features change, not the indices of the maxima."""
    network = enet().eval()
    images = torch.rand(2, 3, 32, 40, generator=torch.Generator().manual_seed(3))
    assert torch.equal(network(images, lambda features: features), network(images))
    encoded = network.encode(images)
    assert isinstance(encoded, Encoded)
    silent = encoded._replace(features=torch.zeros_like(encoded.features))
    assert torch.equal(network(images, torch.zeros_like), network.decode(silent, (32, 40)))


def test_settings() -> None:
    wrong = ModelSettings(architecture="enet", output_stride=16, upsampling="learned")
    with pytest.raises(ConfigError) as error:
        check_model_settings(wrong, {})
    for key in ("backbone", "weights", "batch_norm", "output_stride", "upsampling"):
        assert f"model.{key} " in str(error.value)
    with pytest.raises(ConfigError, match="ImageNet"):
        build_model(SPEC, pretrained=True)
    right = ModelSettings(architecture="enet", backbone="none", weights="none", batch_norm="train")
    for mean in (None, (0.1, 0.2, 0.3)):
        settings = dataclasses.replace(right, mean=mean, align_corners=False)
        model, report = build_initial_model(settings, {}, 5, seed=0)
        assert report is None
        assert (model.spec.mean, model.spec.std) == (mean or MEAN, STD)
