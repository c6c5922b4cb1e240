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
from mixseg.models import (
    SegmentationModel,
    build_initial_model,
    build_model,
    check_model_settings,
    read_weight_file,
)
from mixseg.models.fcn import SkipScores
from tests.models import tiny_vgg  # noqa: F401  # timm knows vgg_tiny from then on
from tests.models.build import SMALL

FCN = dataclasses.replace(SMALL, architecture="fcn8s", backbone="vgg_tiny", output_stride=32)
SKIPS = {"fcn32s": (), "fcn16s": (16,), "fcn8s": (8, 16)}
SETTINGS = ModelSettings(
    architecture="fcn8s", backbone="vgg_tiny", output_stride=32, weights="none", batch_norm="train"
)


def moved(model: SegmentationModel) -> SegmentationModel:
    """The network with scores that are no longer zero."""
    torch.manual_seed(1)
    for parameter in model.head.parameters():
        nn.init.normal_(parameter)
    return model


class TestParameters:
    @staticmethod
    def count(**changes: object) -> int:
        with torch.device("meta"):
            model = build_model(dataclasses.replace(FCN, **changes))  # type: ignore[arg-type]
        return sum(parameter.numel() for parameter in model.parameters())

    @pytest.mark.parametrize(("classes", "table"), [(21, 134.5e6), (19, 134.4e6)])
    def test_fcn8s_on_vgg16(self, classes: int, table: float) -> None:
        widths = [3, 64, 64, 128, 128, 256, 256, 256, *[512] * 6]
        expected = sum(9 * a * b + b for a, b in itertools.pairwise(widths))
        expected += 7 * 7 * 512 * 4096 + 4096 + 4096 * 4096 + 4096
        expected += sum((width + 1) * classes for width in (4096, 512, 256))
        found = self.count(backbone="vgg16", num_classes=classes)
        assert found == expected
        assert found == pytest.approx(table, rel=0.01)
        # Learned upsampling: kernels of 4, 4 and 16 pixels between all classes.
        learned = self.count(backbone="vgg16", num_classes=classes, upsampling="learned")
        assert learned - found == classes**2 * (4**2 + 4**2 + 16**2)
        assert learned == pytest.approx(table, rel=0.01)

    @pytest.mark.parametrize("classes", [19, 21])
    def test_a_classifier_on_resnet50(self, classes: int) -> None:
        found = self.count(architecture="fcn32s", backbone="resnet50", num_classes=classes)
        assert found == pytest.approx(23.6e6, rel=0.01)
        # 25 557 032 are those of the image classifier with its 1000 classes.
        assert found == 25_557_032 - 2049 * 1000 + 2049 * classes


class TestScores:
    @staticmethod
    def maps() -> list[Tensor]:
        torch.manual_seed(0)
        return [
            torch.rand(2, 6, 9, 6).mul(1000),
            torch.rand(2, 7, 5, 3).mul(100),
            torch.rand(2, 8, 3, 2),
        ]

    @staticmethod
    def head(upsampling: str = "bilinear", maps: int = 3, **changes: object) -> SkipScores:
        spec = dataclasses.replace(FCN, upsampling=upsampling, **changes)  # type: ignore[arg-type]
        head = SkipScores((6, 7, 8)[-maps:], spec)
        torch.manual_seed(2)
        for parameter in head.scores.parameters():
            nn.init.normal_(parameter)
        return head

    @staticmethod
    def score(head: SkipScores, index: int, features: Tensor) -> Tensor:
        layer = head.scores[index]
        assert isinstance(layer, nn.Conv2d) and layer.bias is not None
        product = torch.einsum("oc,bchw->bohw", layer.weight[:, :, 0, 0], features)
        return product + layer.bias.view(-1, 1, 1)

    @pytest.mark.parametrize("align_corners", [False, True])
    def test_skips_are_scaled_scored_and_added(self, align_corners: bool) -> None:
        def enlarged(logits: Tensor, height: int, width: int) -> Tensor:
            return functional.interpolate(
                logits, (height, width), mode="bilinear", align_corners=align_corners
            )

        pool3, pool4, last = self.maps()
        head = self.head(align_corners=align_corners)
        at_16 = enlarged(self.score(head, 0, last), 5, 3) + self.score(head, 1, 0.01 * pool4)
        at_8 = enlarged(at_16, 9, 6) + self.score(head, 2, 0.0001 * pool3)
        torch.testing.assert_close(head([pool3, pool4, last]), at_8)
        head = self.head(maps=2, align_corners=align_corners)
        at_16 = enlarged(self.score(head, 0, last), 5, 3) + self.score(head, 1, 0.01 * pool4)
        torch.testing.assert_close(head([pool4, last]), at_16)
        head = self.head(maps=1)
        torch.testing.assert_close(head([last]), self.score(head, 0, last))

    def test_learned_steps_double_and_crop(self) -> None:
        """At the start they interpolate by exactly two, whatever the size of the skip."""

        def doubled(logits: Tensor) -> Tensor:
            return functional.interpolate(
                logits, scale_factor=2, mode="bilinear", align_corners=False
            )

        pool3, pool4, last = self.maps()
        head = self.head("learned")
        at_16 = doubled(self.score(head, 0, last))[..., :5, :3]
        at_16 = at_16 + self.score(head, 1, 0.01 * pool4)
        at_8 = doubled(at_16)[..., :9, :6] + self.score(head, 2, 0.0001 * pool3)
        torch.testing.assert_close(head([pool3, pool4, last]), at_8)

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
    def both(architecture: str = "fcn8s", name: str = "vgg_tiny") -> tuple[nn.Module, nn.Module]:
        """timm's network and the backbone, with the same weights, in evaluation mode."""
        torch.manual_seed(0)
        theirs = timm.create_model(name, num_classes=0).eval()
        ours = build_model(dataclasses.replace(FCN, architecture=architecture, backbone=name))
        ours.backbone.load_state_dict(theirs.state_dict())
        return theirs, ours.backbone.eval()

    @torch.inference_mode()
    def test_the_last_map_is_timms_network_at_every_place(self) -> None:
        theirs, ours = self.both()
        images = torch.rand(2, 3, 224, 288)
        (_, _, fc7) = ours(images)
        assert fc7.shape == (2, 4096, 7, 9)
        # Without padding there are outputs where all 7x7 cells of pool5 are there: one row of 3.
        expected = theirs.pre_logits(theirs.forward_features(images))  # type: ignore[operator]
        torch.testing.assert_close(fc7[:, :, 3:4, 3:6], expected)

    @torch.inference_mode()
    @pytest.mark.parametrize("architecture", sorted(SKIPS))
    def test_skips_are_taken_after_pooling(self, architecture: str) -> None:
        theirs, ours = self.both(architecture)
        images = torch.rand(1, 3, 64, 96)
        maps = ours(images)
        pooled, x = {}, images
        for layer in theirs.features:  # type: ignore[union-attr]
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                pooled[64 // x.shape[-2]] = x
        assert [each.shape[1] for each in maps[:-1]] == [
            pooled[stride].shape[1] for stride in SKIPS[architecture]
        ]
        for found, stride in zip(maps, SKIPS[architecture], strict=False):
            torch.testing.assert_close(found, pooled[stride])

    @torch.inference_mode()
    @pytest.mark.parametrize("size", [(1, 1), (33, 17)])
    def test_sizes_are_rounded_up(self, size: tuple[int, int]) -> None:
        _, ours = self.both()
        for found, stride in zip(ours(torch.rand(1, 3, *size)), (8, 16, 32), strict=True):
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
        torch.manual_seed(0)
        (fc7,) = ours.train()(images)
        for values in (between[0], fc7):
            assert set(values.unique().tolist()) == {0.0, 2.0}
            assert float((values == 0).float().mean()) == pytest.approx(0.5, abs=0.05)
        (fc7,) = ours.eval()(images)
        assert fc7.unique().tolist() == [1.0]


class TestWeights:
    @pytest.fixture
    def content(self) -> dict[str, Tensor]:
        """A file in timm's naming, with the classifier of its 10 classes."""
        torch.manual_seed(5)
        network = timm.create_model("vgg_tiny")
        return {key: value.clone() for key, value in network.state_dict().items()}

    @pytest.mark.parametrize("architecture", sorted(SKIPS))
    def test_a_file_in_timms_naming(
        self, tmp_path: Path, content: dict[str, Tensor], architecture: str
    ) -> None:
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
        # And the whole network, out of a file of its own.
        moved(model)
        safetensors.torch.save_file(model.state_dict(), path)
        again, report = build_initial_model(settings, {}, 5, seed=1)
        assert report is not None
        assert report.head
        images = torch.rand(1, 3, 40, 40)
        with torch.inference_mode():
            torch.testing.assert_close(again.eval()(images), model.eval()(images), rtol=0, atol=0)

    def test_a_file_without_the_fully_connected_layers(
        self, tmp_path: Path, content: dict[str, Tensor]
    ) -> None:
        path = tmp_path / "vgg_tiny.safetensors"
        convolutions = {key: content[key] for key in content if key.startswith("features.")}
        safetensors.torch.save_file(convolutions, path)
        assert read_weight_file(str(path)).keys() == convolutions.keys()
        settings = dataclasses.replace(SETTINGS, weights=str(path))
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
