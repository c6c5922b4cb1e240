"""What every architecture promises; one that registers is tested by being there."""

from __future__ import annotations

import dataclasses
import itertools
import json
from typing import Literal

import pytest
import timm
import torch

from mixseg.config.sections import ModelSettings
from mixseg.errors import ConfigError
from mixseg.models import HeadOnBackbone, ModelSpec, build_initial_model, build_model
from mixseg.registry import ARCHITECTURES as REGISTRY
from tests.models import tiny_vgg  # noqa: F401  # timm knows vgg_tiny from then on
from tests.models.build import SMALL, small_model

BACKBONES = ["test_efficientnet", "test_byobnet", "resnet10t", "lcnet_050"]
ARCHITECTURES = {name: REGISTRY.build(name, {}) for name in REGISTRY}


def spec_of(architecture: str, **changes: object) -> ModelSpec:
    """A small network of an architecture; where it leaves no choice, what it needs."""
    needed = {
        key: values[-1]
        for key, values in ARCHITECTURES[architecture].needs.items()
        if key in SMALL.to_json()
    }
    return dataclasses.replace(SMALL, architecture=architecture, **(needed | changes))  # type: ignore[arg-type]


def specs() -> dict[str, ModelSpec]:
    """Every output stride and upsampling of each architecture, then other backbones."""
    found = {}
    for name, entry in ARCHITECTURES.items():
        upsamplings = entry.needs.get("upsampling", ("bilinear", "learned"))
        for stride, upsampling in itertools.product(entry.needs["output_stride"], upsamplings):
            spec = spec_of(name, output_stride=stride, upsampling=upsampling)
            found[f"{name}-{stride}-{upsampling}"] = spec
        if isinstance(entry, HeadOnBackbone):
            for backbone in [*BACKBONES, *(["vgg_tiny"] if entry.fully_connected else [])]:
                found[f"{name}-{backbone}"] = spec_of(name, backbone=backbone)
    return found


SPECS = specs()
every_spec = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
every_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES)


@every_spec
class TestEveryArchitecture:
    @torch.inference_mode()
    def test_logits_have_the_size_of_the_image(self, spec: ModelSpec) -> None:
        model = build_model(spec).eval()
        for height, width in ((1, 1), (33, 17), (64, 40)):
            logits = model(torch.rand(1, 3, height, width))
            assert logits.shape == (1, SMALL.num_classes, height, width)
            assert torch.isfinite(logits).all()
        entry = ARCHITECTURES[spec.architecture]
        if isinstance(entry, HeadOnBackbone):
            maps = model.backbone(torch.rand(1, 3, 64, 96))
            strides = (*entry.skips, spec.output_stride)
            assert [each.shape[-2:] for each in maps] == [(64 // s, 96 // s) for s in strides]
            assert model.head(maps).shape[-2:] == maps[0].shape[-2:]

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


@every_architecture
class TestSpecification:
    def test_weights_and_specification_are_the_network(self, architecture: str) -> None:
        model = build_model(spec_of(architecture))
        model.train()(torch.rand(2, 3, 32, 32))  # moves the running statistics
        text = json.dumps(model.spec.to_json())
        again = build_model(ModelSpec.from_json(json.loads(text)))
        assert again.spec == model.spec
        again.load_state_dict(model.state_dict())
        images = torch.rand(1, 3, 30, 44)
        assert torch.equal(again.eval()(images), model.eval()(images))
        with pytest.raises(ConfigError, match=rf"{architecture} needs model\.output_stride .*4"):
            build_model(spec_of(architecture, output_stride=4))

    @pytest.mark.parametrize("policy", ["train", "affine-frozen"])
    def test_groups_are_disjoint_and_hold_what_is_trained(
        self, architecture: str, policy: Literal["train", "affine-frozen"]
    ) -> None:
        model = build_model(spec_of(architecture))
        model.set_batch_norm(policy)
        backbone, head = model.parameter_groups(0.1, 0.3, head_factor=10)
        listed = [id(p) for group in (backbone, head) for p in group["params"]]
        assert len(listed) == len(set(listed))
        assert set(listed) == {id(p) for p in model.parameters() if p.requires_grad}
        assert {id(p) for p in backbone["params"]} <= {id(p) for p in model.backbone.parameters()}
        assert (len(listed) == len([*model.parameters()])) == (policy == "train")
        assert (backbone["lr"], head["lr"]) == (0.1, pytest.approx(1.0))
        assert backbone["weight_decay"] == head["weight_decay"] == 0.3


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


def test_maps_that_the_backbone_lacks_are_refused() -> None:
    deeplab = ARCHITECTURES["deeplabv2"]
    assert isinstance(deeplab, HeadOnBackbone)
    spec = dataclasses.replace(SMALL, output_stride=32)
    with pytest.raises(ConfigError, match=r"16, 32 .* 4, 32"):
        dataclasses.replace(deeplab, skips=(4,)).build(spec, pretrained=False)


def test_random_weights_depend_on_the_seed_alone() -> None:
    settings = ModelSettings(backbone="test_resnet", weights="none")
    states = []
    for other, seed in enumerate((7, 7, 8)):
        torch.manual_seed(other)
        before = torch.get_rng_state()
        states.append(build_initial_model(settings, {}, 5, seed=seed)[0].state_dict())
        assert torch.equal(before, torch.get_rng_state())
    first, same, different = states
    assert all(torch.equal(first[key], same[key]) for key in first)
    for part in ("head.", "backbone."):
        assert any(
            not torch.equal(first[key], different[key]) for key in first if key.startswith(part)
        )


@pytest.mark.parametrize("policy", ["train", "affine-frozen", "frozen"])
def test_batch_norm(policy: Literal["train", "affine-frozen", "frozen"]) -> None:
    model = build_model(SMALL)
    model.set_batch_norm(policy)
    model.eval()
    assert model.train().training
    before = {key: value.clone() for key, value in model.named_buffers()}
    images = torch.rand(2, 3, 64, 64)
    logits = model(images)
    logits.mean().backward()
    moved = any(not torch.equal(before[key], value) for key, value in model.named_buffers())
    norms = {
        f"{name}.{inner}"
        for name, layer in model.named_modules()
        if isinstance(layer, torch.nn.BatchNorm2d)
        for inner, _ in layer.named_parameters()
    }
    assert norms
    for name, parameter in model.named_parameters():
        assert (parameter.grad is None) == (name in norms and policy != "train"), name
    assert moved == (policy != "frozen")
    if policy == "frozen":
        torch.testing.assert_close(logits, model.eval()(images))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "deeplabv3"}, r"model.architecture.*'deeplabv2'"),
        ({"backbone": "none"}, r"model\.backbone.*enet"),
        ({"backbone": "resnet1O1"}, "'resnet101'"),
        ({"backbone": "dinov3_vits16"}, r"'vit_\w*dinov3\w*'"),
        # timm refuses it by an assertion without a word.
        ({"backbone": "dla34", "output_stride": 16}, r"stride 16 \(\w.*\w\)"),
        ({"backbone": "hf-hub:timm/resnet18"}, "unknown backbone"),
        ({"backbone": "local-dir:/tmp"}, "unknown backbone"),
        ({"backbone": "../resnet18"}, "unknown backbone"),
        ({"backbone": "resnet18.wrong_tag"}, "unknown weight tag"),
        ({"backbone": "test_vit", "output_stride": 8}, "cannot give|gives stride"),
        ({"backbone": "test_mambaout", "output_stride": 16}, "output stride 16"),
    ],
)
def test_what_cannot_be_built_is_refused(changes: dict[str, object], message: str) -> None:
    settings = dataclasses.replace(ModelSettings(weights="none"), **changes)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=message):
        build_initial_model(settings, {}, 5, seed=0)


def test_normalization_is_that_of_the_backbone_unless_given() -> None:
    settings = ModelSettings(backbone="test_resnet", weights="none")
    own, _ = build_initial_model(settings, {}, 5, 0)
    configuration = timm.get_pretrained_cfg("test_resnet")
    assert (own.spec.mean, own.spec.std) == (configuration.mean, configuration.std)
    given = dataclasses.replace(
        settings, mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 4.0), channel_order="bgr"
    )
    other, _ = build_initial_model(given, {}, 5, 0)
    pixel = torch.tensor([1.1, 4.2, 12.3]).view(1, 3, 1, 1)
    normalized = other.normalisation(pixel).flatten()
    torch.testing.assert_close(normalized, torch.tensor([3.0, 2.0, 1.0]))
