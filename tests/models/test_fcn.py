"""FCN against plain transcriptions, timm's VGG, and the counts of the study's Table 4-8."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from mixseg.config.sections import ModelSettings
from mixseg.errors import CheckpointError, ConfigError
from mixseg.models import build_initial_model, build_model, check_model_settings
from mixseg.models.fcn import SkipScores
from tests.models import tiny_vgg  # noqa: F401  # timm knows vgg_tiny from then on
from tests.models.build import SMALL

FCN = dataclasses.replace(SMALL, architecture="fcn8s", backbone="vgg_tiny", output_stride=32)
SKIPS = {"fcn32s": (), "fcn16s": (16,), "fcn8s": (8, 16)}
SETTINGS = ModelSettings(
    architecture="fcn8s", backbone="vgg_tiny", output_stride=32, weights="none", batch_norm="train"
)


@pytest.mark.parametrize(("classes", "table"), [(21, 134.5e6), (19, 134.4e6)])
def test_parameters(classes: int, table: float) -> None:
    def count(**changes: object) -> int:
        with torch.device("meta"):
            spec = dataclasses.replace(FCN, num_classes=classes, **changes)  # type: ignore[arg-type]
            return sum(parameter.numel() for parameter in build_model(spec).parameters())

    widths = [3, 64, 64, 128, 128, 256, 256, 256, *[512] * 6]
    expected = sum(9 * a * b + b for a, b in itertools.pairwise(widths))
    expected += 7 * 7 * 512 * 4096 + 4096 + 4096 * 4096 + 4096
    expected += sum((width + 1) * classes for width in (4096, 512, 256))
    found = count(backbone="vgg16")
    assert found == expected == pytest.approx(table, rel=0.01)
    # Learned upsampling: kernels of 4, 4 and 16 pixels between all classes.
    learned = count(backbone="vgg16", upsampling="learned")
    assert learned - found == classes**2 * (4**2 + 4**2 + 16**2)
    # 25 557 032 are those of the image classifier with its 1000 classes.
    resnet50 = count(architecture="fcn32s", backbone="resnet50")
    assert resnet50 == 25_557_032 - 2049 * 1000 + 2049 * classes == pytest.approx(23.6e6, rel=0.01)


class TestScores:
    @pytest.mark.parametrize(
        ("upsampling", "align_corners"), [("bilinear", False), ("bilinear", True), ("learned", 0)]
    )
    def test_skips_are_scaled_scored_and_added(self, upsampling: str, align_corners: bool) -> None:
        torch.manual_seed(0)
        pool3, pool4 = torch.rand(2, 6, 9, 6).mul(1000), torch.rand(2, 7, 5, 3).mul(100)
        last = torch.rand(2, 8, 3, 2)
        spec = dataclasses.replace(FCN, upsampling=upsampling, align_corners=align_corners)  # type: ignore[arg-type]

        def head(channels: tuple[int, ...]) -> SkipScores:
            built = SkipScores(channels, spec)
            for parameter in built.scores.parameters():
                nn.init.normal_(parameter)
            return built

        def score(head: SkipScores, index: int, features: Tensor) -> Tensor:
            weight, bias = (head.scores[index].get_parameter(one) for one in ("weight", "bias"))
            product = torch.einsum("oc,bchw->bohw", weight[:, :, 0, 0], features)
            return product + bias.view(-1, 1, 1)

        def enlarged(logits: Tensor, height: int, width: int) -> Tensor:
            if upsampling == "bilinear":
                return functional.interpolate(
                    logits, (height, width), mode="bilinear", align_corners=align_corners
                )
            # At the start it interpolates by exactly two, whatever the size of the skip.
            doubled = functional.interpolate(logits, scale_factor=2, mode="bilinear")
            return doubled[..., :height, :width]

        three, two, one = head((6, 7, 8)), head((7, 8)), head((8,))
        at_16 = enlarged(score(three, 0, last), 5, 3) + score(three, 1, 0.01 * pool4)
        at_8 = enlarged(at_16, 9, 6) + score(three, 2, 0.0001 * pool3)
        torch.testing.assert_close(three([pool3, pool4, last]), at_8)
        at_16 = enlarged(score(two, 0, last), 5, 3) + score(two, 1, 0.01 * pool4)
        torch.testing.assert_close(two([pool4, last]), at_16)
        torch.testing.assert_close(one([last]), score(one, 0, last))

    @pytest.mark.parametrize("upsampling", ["bilinear", "learned"])
    def test_the_first_step_moves_scores_and_the_next_everything(self, upsampling: str) -> None:
        torch.manual_seed(0)
        model = build_model(dataclasses.replace(FCN, upsampling=upsampling)).train()  # type: ignore[arg-type]
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        images, labels = torch.rand(2, 3, 64, 96), torch.randint(5, (2, 64, 96))

        def learning() -> set[str]:
            optimizer.zero_grad()
            functional.cross_entropy(model(images), labels).backward()
            return {
                name
                for name, parameter in model.named_parameters()
                if parameter.grad is not None and parameter.grad.any()
            }

        scores = {name for name, _ in model.named_parameters() if name.startswith("head.scores.")}
        assert learning() == scores
        optimizer.step()
        assert learning() == {name for name, _ in model.named_parameters()}


class TestFullyConvolutionalVGG:
    @staticmethod
    def both(architecture: str = "fcn8s") -> tuple[nn.Module, nn.Module]:
        """timm's network and the backbone, with the same weights, in evaluation mode."""
        torch.manual_seed(0)
        theirs = timm.create_model("vgg_tiny", num_classes=0).eval()
        ours = build_model(dataclasses.replace(FCN, architecture=architecture))
        ours.backbone.load_state_dict(theirs.state_dict())
        return theirs, ours.backbone.eval()

    @torch.inference_mode()
    @pytest.mark.parametrize("architecture", sorted(SKIPS))
    def test_maps_are_those_of_timms_network(self, architecture: str) -> None:
        theirs, ours = self.both(architecture)
        images = torch.rand(2, 3, 224, 288)
        *skips, fc7 = ours(images)
        assert fc7.shape == (2, 4096, 7, 9)
        # Without padding there are outputs where all 7x7 cells of pool5 are there: one row of 3.
        expected = theirs.pre_logits(theirs.forward_features(images))  # type: ignore[operator]
        torch.testing.assert_close(fc7[:, :, 3:4, 3:6], expected)
        pooled, x = {}, images
        for layer in theirs.features:  # type: ignore[union-attr]
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                pooled[224 // x.shape[-2]] = x
        for found, stride in zip(skips, SKIPS[architecture], strict=True):
            torch.testing.assert_close(found, pooled[stride])
        for size in ((1, 1), (33, 17)):
            strides = (*SKIPS[architecture], 32)
            for found, stride in zip(ours(torch.rand(1, 3, *size)), strides, strict=True):
                assert found.shape[-2:] == tuple(-(-pixels // stride) for pixels in size)

    def test_half_of_both_layers_is_dropped_in_training(self) -> None:
        _, ours = self.both("fcn32s")
        layers: nn.ModuleDict = ours.pre_logits  # type: ignore[assignment]
        for layer in layers.values():
            nn.init.zeros_(layer.weight)  # type: ignore[arg-type]
            nn.init.ones_(layer.bias)  # type: ignore[arg-type]
        between: list[Tensor] = []
        layers["fc2"].register_forward_pre_hook(lambda layer, inputs: between.append(inputs[0]))
        images = torch.rand(1, 3, 160, 160)
        (fc7,) = ours.train()(images)
        for values in (between[0], fc7):
            assert set(values.unique().tolist()) == {0.0, 2.0}
            assert float((values == 0).float().mean()) == pytest.approx(0.5, abs=0.05)
        (fc7,) = ours.eval()(images)
        assert fc7.unique().tolist() == [1.0]


@pytest.mark.parametrize("architecture", sorted(SKIPS))
def test_weight_files_in_timms_naming(tmp_path: Path, architecture: str) -> None:
    content = timm.create_model("vgg_tiny").state_dict()
    path = tmp_path / "vgg_tiny.safetensors"
    safetensors.torch.save_file(content, path)
    settings = dataclasses.replace(SETTINGS, architecture=architecture, weights=str(path))
    model, report = build_initial_model(settings, {}, 5, seed=0)
    assert report is not None
    assert (report.head, report.missing) == (False, ())
    assert report.unexpected == ("head.fc.bias", "head.fc.weight")
    loaded = model.backbone.state_dict()
    assert loaded.keys() == content.keys() - {"head.fc.bias", "head.fc.weight"}
    assert all(torch.equal(value, content[key]) for key, value in loaded.items())
    # Then the whole network, from a file of its own, and a file without fully connected layers.
    for parameter in model.head.parameters():
        nn.init.normal_(parameter)
    safetensors.torch.save_file(model.state_dict(), path)
    again, report = build_initial_model(settings, {}, 5, seed=1)
    assert report is not None
    assert report.head
    assert all(torch.equal(one, model.state_dict()[key]) for key, one in again.state_dict().items())
    convolutions = {key: content[key] for key in content if key.startswith("features.")}
    safetensors.torch.save_file(convolutions, path)
    with pytest.raises(CheckpointError, match=r"90 % are needed.*pre_logits\.fc1"):
        build_initial_model(settings, {}, 5, seed=0)


def test_refused() -> None:
    for architecture in SKIPS:
        settings = dataclasses.replace(SETTINGS, architecture=architecture, output_stride=16)
        with pytest.raises(ConfigError, match=rf"{architecture} .*model\.output_stride 32"):
            check_model_settings(settings, {})
    for backbone in ("test_vit", "test_mambaout"):
        with pytest.raises(ConfigError, match=rf"model\.backbone.*{backbone}"):
            build_model(dataclasses.replace(FCN, backbone=backbone))
    with pytest.raises(ConfigError, match="bottleneck"):  # weights of the original DeepLab
        build_model(dataclasses.replace(FCN, stride_in_1x1=True))
