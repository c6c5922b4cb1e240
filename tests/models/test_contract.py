"""What every architecture promises; a new entry of ARCHITECTURES is tested by being there."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
import timm
import torch

from mixseg.config.sections import ModelSettings
from mixseg.errors import ConfigError
from mixseg.models import (
    ARCHITECTURES,
    HeadOnBackbone,
    ModelSpec,
    build_initial_model,
    build_model,
)
from tests.models import tiny_vgg  # noqa: F401  # timm knows vgg_tiny from then on
from tests.models.build import SMALL, small_model

BACKBONES = ["test_resnet", "test_efficientnet", "test_byobnet", "resnet10t", "lcnet_050"]
DOCUMENT = Path(__file__).parents[2] / "docs" / "extending.md"


def spec_of(architecture: str, **changes: object) -> ModelSpec:
    """A small network of an architecture; where it leaves no choice, what it needs."""
    needed = {
        key: values[-1]
        for key, values in ARCHITECTURES[architecture].needs.items()
        if key in SMALL.to_json()
    }
    return dataclasses.replace(SMALL, architecture=architecture, **(needed | changes))  # type: ignore[arg-type]


def backbones(architecture: str) -> list[str]:
    entry = ARCHITECTURES[architecture]
    if not isinstance(entry, HeadOnBackbone):
        return [str(name) for name in entry.needs["backbone"]]
    return [*BACKBONES, *(["vgg_tiny"] if entry.fully_connected else [])]


def upsamplings(architecture: str) -> list[str]:
    choices = ARCHITECTURES[architecture].needs.get("upsampling", ("bilinear", "learnt"))
    return [str(choice) for choice in choices]


SPECS = {
    f"{name}-{backbone}-{stride}-{upsampling}": spec_of(
        name, backbone=backbone, output_stride=stride, upsampling=upsampling
    )
    for name, architecture in sorted(ARCHITECTURES.items())
    for backbone in backbones(name)
    for stride in architecture.needs["output_stride"]
    for upsampling in upsamplings(name)
}
HEADS = {
    key: spec
    for key, spec in SPECS.items()
    if isinstance(ARCHITECTURES[spec.architecture], HeadOnBackbone)
}

every_spec = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
every_architecture = pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
every_upsampling = pytest.mark.parametrize(
    ("architecture", "upsampling"),
    [(name, upsampling) for name in sorted(ARCHITECTURES) for upsampling in upsamplings(name)],
)


@every_spec
class TestEveryArchitecture:
    @torch.inference_mode()
    def test_logits_have_the_size_of_the_image(self, spec: ModelSpec) -> None:
        model = build_model(spec).eval()
        for height, width in ((1, 1), (33, 17), (64, 40), (3, 65)):
            logits = model(torch.rand(1, 3, height, width))
            assert logits.shape == (1, SMALL.num_classes, height, width)
            assert torch.isfinite(logits).all()

    def test_a_loss_reaches_every_trained_parameter(self, spec: ModelSpec) -> None:
        torch.manual_seed(0)
        model = build_model(spec).train()
        for layer in model.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                # timm starts residual branches from a scale of zero, which hides what is in them.
                torch.nn.init.ones_(layer.weight)
        for parameter in model.head.parameters():
            # Some heads start from zero, which hides what is below them.
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.1)
        model(torch.rand(2, 3, 40, 56)).square().mean().backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
            # Branches whose rates jump over a small map still see their central weights.
            assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("spec", HEADS.values(), ids=HEADS)
@torch.inference_mode()
def test_maps_have_the_strides_asked_for(spec: ModelSpec) -> None:
    model = build_model(spec).eval()
    maps = model.backbone(torch.rand(1, 3, 64, 96))
    entry = ARCHITECTURES[spec.architecture]
    assert isinstance(entry, HeadOnBackbone)
    strides = (*entry.skips, spec.output_stride)
    assert [each.shape[-2:] for each in maps] == [(64 // s, 96 // s) for s in strides]
    assert model.head(maps).shape[-2:] == maps[0].shape[-2:]


@every_upsampling
class TestSpecification:
    def test_weights_and_specification_are_the_network(
        self, architecture: str, upsampling: str
    ) -> None:
        model = build_model(spec_of(architecture, upsampling=upsampling))
        model.train()(torch.rand(2, 3, 32, 32))  # moves the running statistics
        text = json.dumps(model.spec.to_json())
        again = build_model(ModelSpec.from_json(json.loads(text)))
        assert again.spec == model.spec
        again.load_state_dict(model.state_dict())
        images = torch.rand(1, 3, 30, 44)
        torch.testing.assert_close(again.eval()(images), model.eval()(images), rtol=0, atol=0)

    def test_groups_are_disjoint_and_complete(self, architecture: str, upsampling: str) -> None:
        model = build_model(spec_of(architecture, upsampling=upsampling))
        backbone, head = model.parameter_groups(0.1, 0.3, head_factor=10)
        first, second = ({id(p) for p in group["params"]} for group in (backbone, head))
        assert not first & second
        assert first | second == {id(parameter) for parameter in model.parameters()}
        assert first == {id(parameter) for parameter in model.backbone.parameters()}
        assert (backbone["lr"], head["lr"]) == (0.1, pytest.approx(1.0))
        assert backbone["weight_decay"] == head["weight_decay"] == 0.3

    def test_frozen_parameters_are_in_no_group(self, architecture: str, upsampling: str) -> None:
        model = build_model(spec_of(architecture, upsampling=upsampling))
        model.set_batch_norm("affine-frozen")
        groups = model.parameter_groups(0.1, 0.0, head_factor=10)
        listed = {id(p) for group in groups for p in group["params"]}
        assert listed == {id(p) for p in model.parameters() if p.requires_grad}
        assert len(listed) < len(list(model.parameters()))


class TestTrainedParameters:
    def test_norms_and_biases_without_decay(self) -> None:
        groups = small_model().parameter_groups(0.1, 0.3, head_factor=10, no_decay_norms=True)
        for group in groups:
            assert group["weight_decay"] in (0.0, 0.3)
            assert all((p.dim() > 1) == (group["weight_decay"] > 0) for p in group["params"])
        listed = [p for group in groups for p in group["params"]]
        assert len(listed) == len({id(p) for p in listed}) == len([*small_model().parameters()])

    def test_layers_near_the_input_move_least(self) -> None:
        model = small_model()
        groups = model.parameter_groups(0.1, 0.3, head_factor=10, layer_decay=0.5)
        rates = {id(p): group["lr"] for group in groups for p in group["params"]}
        backbone = [rates[id(p)] for p in model.backbone.parameters()]
        assert backbone == sorted(backbone)
        assert len(set(backbone)) > 3
        assert backbone[-1] == 0.1
        assert {rates[id(p)] for p in model.head.parameters()} == {1.0}

    def test_frozen_by_name(self) -> None:
        model = small_model()
        model.freeze(["backbone.layer1", "head."])
        for name, parameter in model.named_parameters():
            assert parameter.requires_grad != name.startswith(("backbone.layer1", "head."))
        with pytest.raises(ConfigError, match=r"model\.freeze"):
            model.freeze(["backbon."])


def test_encode_and_decode_are_the_forward_pass() -> None:
    model, images = small_model().eval(), torch.rand(1, 3, 30, 44)
    features = model.encode(images)
    assert torch.equal(model.decode(features, images.shape[-2:]), model(images))


class TestArchitecture:
    @every_architecture
    def test_other_output_strides_are_refused(self, architecture: str) -> None:
        strides = ARCHITECTURES[architecture].needs["output_stride"]
        choices = " or ".join(str(stride) for stride in strides)
        message = f"{architecture} needs model.output_stride {choices}, found 4"
        with pytest.raises(ConfigError, match=message):
            build_model(spec_of(architecture, output_stride=4))

    def test_maps_that_the_backbone_lacks_are_refused(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        deeplab = ARCHITECTURES["deeplabv2"]
        assert isinstance(deeplab, HeadOnBackbone)
        entry = dataclasses.replace(deeplab, skips=(4,))
        monkeypatch.setitem(ARCHITECTURES, "skipping", entry)
        spec = dataclasses.replace(SMALL, architecture="skipping", output_stride=32)
        with pytest.raises(ConfigError, match=r"resnet' gives .* strides 16, 32 .* needs 4, 32"):
            build_model(spec)

    def test_the_one_of_the_document_meets_the_contract(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        blocks = re.findall(
            r"^```python\n(.*?)^```", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE
        )
        (block,) = (text for text in blocks if "ARCHITECTURES[" in text)
        monkeypatch.setattr("mixseg.models.ARCHITECTURES", dict(ARCHITECTURES))
        names: dict[str, object] = {}
        exec(block, names)
        model = build_model(dataclasses.replace(SMALL, architecture="two-scores", output_stride=32))
        logits = model(torch.rand(2, 3, 33, 70))
        assert logits.shape == (2, SMALL.num_classes, 33, 70)
        logits.mean().backward()
        assert all(parameter.grad is not None for parameter in model.head.parameters())


class TestSeeds:
    SETTINGS = ModelSettings(backbone="test_resnet", weights="none", rates=(1, 2))

    def test_same_seed_same_weights_whatever_the_global_state(self) -> None:
        torch.manual_seed(1)
        first, _ = build_initial_model(self.SETTINGS, 5, seed=7)
        torch.manual_seed(2)
        second, _ = build_initial_model(self.SETTINGS, 5, seed=7)
        other, _ = build_initial_model(self.SETTINGS, 5, seed=8)
        a, b, c = (model.state_dict() for model in (first, second, other))
        assert all(torch.equal(a[key], b[key]) for key in a)
        assert any(not torch.equal(a[key], c[key]) for key in a if key.startswith("head."))
        assert any(not torch.equal(a[key], c[key]) for key in a if key.startswith("backbone."))

    def test_global_random_state_is_untouched(self) -> None:
        torch.manual_seed(3)
        before = torch.get_rng_state()
        build_initial_model(self.SETTINGS, 5, seed=7)
        assert torch.equal(before, torch.get_rng_state())


class TestBatchNorm:
    @staticmethod
    def trained(policy: str) -> tuple[set[str], set[str], set[str]]:
        """Parameters with gradient, statistics that a training step moves, all norm parameters."""
        torch.manual_seed(0)
        model = build_model(SMALL)
        model.set_batch_norm(policy)  # type: ignore[arg-type]
        model.train()
        before = {key: value.clone() for key, value in model.named_buffers()}
        model(torch.rand(2, 3, 64, 64)).mean().backward()
        moved = {key for key, value in model.named_buffers() if not torch.equal(before[key], value)}
        norms = {
            f"{name}.{inner}"
            for name, layer in model.named_modules()
            if isinstance(layer, torch.nn.BatchNorm2d)
            for inner, _ in layer.named_parameters()
        }
        with_gradient = {key for key, value in model.named_parameters() if value.grad is not None}
        return with_gradient, moved, norms

    def test_train(self) -> None:
        gradient, moved, norms = self.trained("train")
        assert norms <= gradient
        assert any(key.endswith("running_mean") for key in moved)

    def test_affine_frozen(self) -> None:
        gradient, moved, norms = self.trained("affine-frozen")
        assert norms
        assert not norms & gradient
        assert any(key.endswith("running_mean") for key in moved)

    def test_frozen_stays_so_through_train_and_eval(self) -> None:
        gradient, moved, norms = self.trained("frozen")
        assert not norms & gradient
        assert not moved
        model = build_model(SMALL)
        model.set_batch_norm("frozen")
        model.eval()
        model.train()
        assert model.training
        images = torch.rand(2, 3, 64, 64)
        torch.testing.assert_close(model(images), model.eval()(images))

    def test_everything_else_is_trained_under_every_policy(self) -> None:
        for policy in ("train", "affine-frozen", "frozen"):
            gradient, _, norms = self.trained(policy)
            names = {key for key, _ in build_model(SMALL).named_parameters()}
            assert names - norms <= gradient


class TestSettings:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"architecture": "deeplabv3"}, r"model.architecture: unknown.*'deeplabv2'"),
            ({"backbone": "resnet999"}, r"model.backbone: unknown backbone 'resnet999'"),
            ({"backbone": "none"}, r"none is for .* whole networks, as enet .* needs a timm model"),
            ({"backbone": "resnet1O1"}, r"Did you mean 'resnet101'"),
            ({"backbone": "dinov3_vits16"}, r"Did you mean ('vit_\w*dinov3\w*'( or )?)+\?"),
            ({"backbone": "qqqqqq"}, r"unknown backbone 'qqqqqq'\. timm"),
            # timm refuses it by an assertion without a word.
            ({"backbone": "dla34", "output_stride": 16}, r"stride 16 \(\w.*\w\)\. Try"),
            ({"backbone": "hf-hub:timm/resnet18"}, "unknown backbone"),
            ({"backbone": "local-dir:/tmp"}, "unknown backbone"),
            ({"backbone": "os.system"}, "unknown backbone"),
            ({"backbone": "../resnet18"}, "unknown backbone"),
            ({"backbone": "resnet18.wrong_tag"}, "unknown weight tag"),
            ({"backbone": "test_vit", "output_stride": 8}, "cannot give|gives stride"),
            ({"backbone": "test_mambaout", "output_stride": 16}, "output stride 16"),
        ],
    )
    def test_what_cannot_be_built_is_a_readable_error(
        self, changes: dict[str, object], message: str
    ) -> None:
        settings = dataclasses.replace(ModelSettings(weights="none"), **changes)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match=message):
            build_initial_model(settings, 5, seed=0)

    def test_normalisation_is_that_of_the_backbone_unless_given(self) -> None:
        settings = ModelSettings(backbone="test_resnet", weights="none")
        own, _ = build_initial_model(settings, 5, 0)
        configuration = timm.get_pretrained_cfg("test_resnet")
        assert own.spec.mean == configuration.mean
        assert own.spec.std == configuration.std
        given = dataclasses.replace(settings, mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 4.0))
        other, _ = build_initial_model(given, 5, 0)
        red = torch.tensor([0.1, 0.2, 0.3]) + torch.tensor([1.0, 2.0, 4.0])
        normalised = other.normalisation(red.view(1, 3, 1, 1))
        torch.testing.assert_close(normalised, torch.ones(1, 3, 1, 1))

    def test_bgr_turns_the_normalised_channels_round(self) -> None:
        settings = ModelSettings(
            backbone="test_resnet",
            weights="none",
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
            channel_order="bgr",
        )
        model, _ = build_initial_model(settings, 5, 0)
        pixel = torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1)
        assert torch.equal(model.normalisation(pixel), pixel.flip(1))
