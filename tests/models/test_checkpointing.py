"""Activation checkpointing: less is kept, and nothing else changes."""

from __future__ import annotations

import copy

import pytest
import torch
from timm.layers.norm_act import convert_sync_batchnorm
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from mixseg.config.sections import ModelSettings
from mixseg.errors import ConfigError
from mixseg.models import SegmentationModel, build_initial_model, checkpoint_blocks


def network(backbone: str) -> SegmentationModel:
    settings = ModelSettings(
        architecture="enet" if backbone == "none" else "deeplabv2",
        backbone=backbone,
        weights="none",
        batch_norm="train",
    )
    return build_initial_model(settings, {}, 5, seed=0)[0].train()


def step(model: SegmentationModel) -> int:
    """A forward and a backward pass; bytes that were kept for the latter."""
    kept = 0

    def count(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.numel() * tensor.element_size()
        return tensor

    torch.manual_seed(3)  # for dropout
    images = torch.rand(2, 3, 49, 65, generator=torch.Generator().manual_seed(1))
    with saved_tensors_hooks(count, lambda tensor: tensor):
        loss = model(images).square().mean()
    loss.backward()
    return kept


@pytest.mark.parametrize("backbone", ["resnet18", "tf_efficientnet_lite0", "none"])
def test_gradients_and_statistics_are_the_same(backbone: str) -> None:
    plain = network(backbone)
    saving = copy.deepcopy(plain)
    checkpoint_blocks(saving.backbone, backbone)
    copied = copy.deepcopy(saving)  # as a teacher is
    kept = step(plain)
    for model in (saving, copied):
        assert step(model) < 0.6 * kept
        for (name, wanted), (other, found) in zip(
            plain.named_parameters(), model.named_parameters(), strict=True
        ):
            assert name == other
            assert torch.equal(wanted.grad, found.grad), name
        for name, buffer in plain.named_buffers():
            assert torch.equal(buffer, model.get_buffer(name)), name
    for parameter in saving.parameters():
        parameter.grad = None
    step(copied)  # with its own weights
    assert all(parameter.grad is None for parameter in saving.parameters())


def test_a_backbone_without_blocks_is_refused() -> None:
    with pytest.raises(ConfigError, match="plain is not made of blocks"):
        checkpoint_blocks(torch.nn.Sequential(torch.nn.Conv2d(3, 3, 3)), "plain")


def test_synchronised_batch_norm_is_recomputed_too() -> None:
    # Alone, without other processes, it normalizes as batch norm does.
    plain = network("resnet18")
    saving = convert_sync_batchnorm(copy.deepcopy(plain))
    checkpoint_blocks(saving.backbone, "resnet18")
    step(plain)
    step(saving)
    for wanted, found in zip(plain.parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(found.grad, wanted.grad)
    for name, buffer in plain.named_buffers():
        torch.testing.assert_close(saving.get_buffer(name), buffer)
