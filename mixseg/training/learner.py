"""From settings to what learns: network, method, optimizer and regularizers on a device."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Iterable, Sequence

import torch
from timm.layers.norm_act import convert_sync_batchnorm

from mixseg.config import ModelSettings, Settings
from mixseg.data.arrays import Size
from mixseg.distributed import world
from mixseg.engine.learner import Learner
from mixseg.engine.method import MethodInputs
from mixseg.engine.optimizers import build_optimizer
from mixseg.engine.precision import choose_device, choose_precision
from mixseg.engine.saved_network import SavedNetworks
from mixseg.errors import ConfigError
from mixseg.methods import build_method
from mixseg.models import (
    ModelSpec,
    SegmentationModel,
    WeightReport,
    build_initial_model,
    build_model,
    check_input_sizes,
    checkpoint_blocks,
    model_title,
    parameter_groups,
)
from mixseg.regularizers import build_regularizers
from mixseg.training.initial import network_of_run
from mixseg.training.precision import Choose


def build_learner(
    settings: Settings,
    num_classes: int,
    inputs: MethodInputs,
    *,
    download: bool = True,
    choose: Choose | None = None,
    classes: Sequence[str] | None = None,
    spec: ModelSpec | None = None,
    sizes: Iterable[Size] = (),
) -> tuple[Learner, WeightReport | None]:
    """Compose what the settings name; random weights depend on their seed alone.

    Args:
        settings: Of a run.
        num_classes: Number of classes that the network tells apart.
        inputs: What the data give the method, on the CPU.
        download: Whether ImageNet weights are fetched; without them the network costs as much.
        choose: Says the precision; None is :func:`choose_precision`, which measures nothing.
        classes: Their names. The classifier of an earlier run is taken if its classes are these;
            None takes it if it fits.
        spec: Of a run that goes on: initial weights, which its checkpoint replaces, are not read.
        sizes: Height and width of the images of a new run, which its networks have to take.

    Returns:
        What learns, and what its weight file gave, if there was one.

    Raises:
        ConfigError: An unknown name, a combination that cannot be built, or images of a size that
            a network does not take.
        CheckpointError: Weights cannot be had, are unsafe, or do not fit.
    """
    device = choose_device(settings.training.device)
    if device.type == "cuda":
        # All batches have one size, so that looking for the fastest algorithms pays.
        torch.backends.cudnn.benchmark = settings.crops or settings.data.resize is not None
    network = settings.model
    if network.weights == "imagenet" and not download:
        network = dataclasses.replace(network, weights="none")
    model, report = _initial(network, num_classes, settings.seed, classes, spec)
    sizes = tuple(sizes)
    check_input_sizes(model, sizes)
    if inputs.teacher is not None:
        check_input_sizes(inputs.teacher.network, sizes)
    if network.activation_checkpointing:
        checkpoint_blocks(model.backbone, model_title(network))
    inputs = inputs.to(device)
    if settings.training.sync_batch_norm and world().size > 1:
        model = convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    for each in (model.to(device), inputs.teacher):
        if each is not None and settings.training.channels_last:
            each.to(memory_format=torch.channels_last)
    if choose is None:
        precision = choose_precision(settings.training.precision, device, model)
    else:
        precision = choose(model, device)
    chosen = settings.optimizer
    groups = parameter_groups(model, chosen.lr, chosen.head_factor, chosen.weight_decay)
    method = build_method(model, settings, inputs)
    if settings.training.compile:
        compile_networks(method.networks.values())
    learner = Learner(
        method,
        build_optimizer(groups, chosen),
        precision,
        build_regularizers(settings, num_classes, precision),
        settings.seed,
        chosen.clip_norm,
    )
    return learner, report


def _initial(
    network: ModelSettings,
    num_classes: int,
    seed: int,
    classes: Sequence[str] | None,
    spec: ModelSpec | None,
) -> tuple[SegmentationModel, WeightReport | None]:
    if spec is not None:
        with torch.random.fork_rng(devices=()):  # on the CPU; its random weights are replaced
            model = build_model(spec)
        model.set_batch_norm(network.batch_norm)
        return model, None
    earlier = network_of_run(network)
    if earlier is None:
        return build_initial_model(network, num_classes, seed)
    (trained,) = earlier.networks.values()
    same = classes is None or tuple(classes) == earlier.classes.names
    model, report = build_initial_model(network, num_classes, seed, trained, keep_classifier=same)
    if report is not None:
        report = dataclasses.replace(report, source=_source(network.weights, earlier))
    return model, report


def _source(weights: str, earlier: SavedNetworks) -> str:
    """What a run starts from, for people."""
    better = earlier.better_one()
    note = f" (note: {better[1]})" if better is not None else ""
    return f"{weights}: {earlier.describe()}{note}"


def compile_networks(networks: Iterable[SegmentationModel]) -> None:
    """Let torch compile backbones and heads when they are first called; names of weights stay.

    Raises:
        ConfigError: There is nothing to compile with.
    """
    named = filter(None, (os.environ.get("CXX"), "g++", "clang++", "c++"))
    if not any(map(shutil.which, named)):
        raise ConfigError(
            "training.compile: torch.compile needs a C++ compiler, and there is none; install g++, "
            "name another in the environment variable CXX, or leave training.compile out"
        )
    for network in networks:
        network.backbone.compile()
        network.head.compile()
