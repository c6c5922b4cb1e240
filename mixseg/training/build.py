"""From settings to objects: the one place where the settings of a run become its parts."""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray
from timm.layers.norm_act import convert_sync_batchnorm
from torch import Tensor, nn

from mixseg.config import DataSettings, MixingSettings, ModelSettings, Settings, to_flat
from mixseg.data.arrays import Size
from mixseg.data.contract import SegmentationDataset
from mixseg.data.record import digests
from mixseg.data.strong_augmentation import StrongAugmentation
from mixseg.distributed import world
from mixseg.errors import ConfigError, DataError
from mixseg.evaluation.confusion import Scores
from mixseg.evaluation.evaluator import Resolution, evaluate
from mixseg.losses import build_consistency, build_loss, distillation_divergence
from mixseg.methods import (
    Distillation,
    DomainAdaptation,
    Method,
    SemiSupervised,
    Supervised,
    check_method_name,
)
from mixseg.methods.labeled import LabeledMix, MixedUp, Pasted, plain
from mixseg.mixing import MIXUP, build_mixer
from mixseg.models import (
    FixedTeacher,
    ModelSpec,
    SegmentationModel,
    WeightReport,
    build_initial_model,
    build_model,
    check_input_sizes,
    checkpoint_blocks,
    model_title,
)
from mixseg.randomness import derive_seed
from mixseg.regularizers import build_regularizers
from mixseg.targets import (
    Average,
    DistributionAlignment,
    MeanTeacher,
    PseudoLabels,
    build_weighting,
)
from mixseg.temperature import tempered
from mixseg.training.data import TrainingData, streams_of, training_size
from mixseg.training.initial import network_of_run
from mixseg.training.loggers import LOGGERS
from mixseg.training.loop import Run
from mixseg.training.optimizers import build_optimizer
from mixseg.training.precision import Precision, choose_device, choose_precision
from mixseg.training.precision_choice import Choose, precision_of_run
from mixseg.training.run_directory import RunDirectory
from mixseg.training.saved_network import network_card
from mixseg.training.schedules import build_schedule, momentum_cycle
from mixseg.training.skipped import SkippedSamples
from mixseg.training.stages import of_one_stage, plan_stages, staged
from mixseg.training.streams import build_streams, loader_workers
from mixseg.training.update import Learner

LOG = logging.getLogger("mixseg")


# Methods ------------------------------------------------------------------------------------------


class Given(NamedTuple):
    """What parts of a method depend on besides the settings.

    Attributes:
        distribution: Class distribution that pseudo-labels are aligned to, float32, shape (C,);
            None aligns nothing.
        frequencies: Share of each class among the labeled pixels, float32, shape (C,); None where
            no loss weighs classes by it.
        teacher: A trained network to learn from; None where nothing is distilled.
    """

    distribution: Tensor | None = None
    frequencies: Tensor | None = None
    teacher: FixedTeacher | None = None


def build_method(student: SegmentationModel, settings: Settings, given: Given) -> Method:
    """The method that the settings name, around a student that is on its device already.

    Raises:
        ConfigError: There is no such method, or it lacks a teacher.
    """
    check_method_name(settings.method)
    return BUILDERS[settings.method](student, settings, given)


def _supervised(student: SegmentationModel, settings: Settings, given: Given) -> Method:
    return Supervised(
        student,
        supervised_loss=_supervised_loss(student, settings, given),
        average=Average(student, settings.teacher.decay),
        labeled_mix=_labeled_mix(settings.mixing, student.spec.num_classes),
    )


def _semi_supervised(
    student: SegmentationModel,
    settings: Settings,
    given: Given,
    kind: type[SemiSupervised] = SemiSupervised,
) -> Method:
    targets, teacher, temperature = settings.targets, settings.teacher, settings.temperature
    num_classes, align = student.spec.num_classes, None
    if given.distribution is not None:
        wanted = given.distribution.to(_device(student))
        align = DistributionAlignment(wanted, targets.alignment_decay)
    return kind(
        student,
        supervised_loss=_supervised_loss(student, settings, given),
        teacher=MeanTeacher(
            student, teacher.decay, teacher.mode, teacher.buffers, temperature, align
        ),
        mixer=build_mixer(settings.mixing, num_classes),
        weighting=_OfConfidence(build_weighting(targets)),
        consistency=tempered(build_consistency(targets), temperature),
        augment=StrongAugmentation(settings.augmentation),
        labeled_mix=_labeled_mix(settings.mixing, num_classes),
        targets=targets.kind,
        unsupervised_weight=targets.unsupervised_weight,
        threshold=targets.threshold,
        joint_forward=settings.model.joint_forward,
    )


def _domain_adaptation(student: SegmentationModel, settings: Settings, given: Given) -> Method:
    among_themselves = settings.mixing.domains == "intra"
    kind = SemiSupervised if among_themselves else DomainAdaptation
    return _semi_supervised(student, settings, given, kind)


def _distillation(student: SegmentationModel, settings: Settings, given: Given) -> Method:
    if given.teacher is None:
        raise ConfigError("method distillation needs a teacher to learn from")
    options = settings.distillation
    divergence = tempered(distillation_divergence, settings.temperature)
    return Distillation(
        student,
        teacher=given.teacher,
        supervised_loss=_supervised_loss(student, settings, given),
        divergence=lambda own, taught: divergence(own, taught, options.temperature),
        average=Average(student, settings.teacher.decay),
        labeled_mix=_labeled_mix(settings.mixing, student.spec.num_classes),
        alpha=options.alpha,
        ignored=options.ignored,
        unlabeled=options.unlabeled,
        pairwise=options.pairwise,
        map_temperature=settings.adversarial.temperature_d if options.holistic else None,
    )


BUILDERS: dict[str, Callable[[SegmentationModel, Settings, Given], Method]] = {
    "distillation": _distillation,
    "domain_adaptation": _domain_adaptation,
    "semi_supervised": _semi_supervised,
    "supervised": _supervised,
}
"""Name of a method -> its construction."""


def _supervised_loss(
    student: SegmentationModel, settings: Settings, given: Given
) -> Callable[[Tensor, Tensor], Tensor]:
    shares = given.frequencies
    shares = None if shares is None else shares.to(_device(student))
    return tempered(build_loss(settings.supervised_loss, shares), settings.temperature)


def _labeled_mix(settings: MixingSettings, num_classes: int) -> LabeledMix:
    if settings.labeled == "none":
        return plain
    if settings.labeled == MIXUP:
        return MixedUp(num_classes, settings.alpha)
    named = dataclasses.replace(settings, mixer=settings.labeled)
    return Pasted(build_mixer(named, num_classes))


@final
class _OfConfidence:
    """A weighting that sees nothing but the confidence of the pseudo-labels."""

    needs_probabilities = False
    state: Mapping[str, Tensor] = MappingProxyType({})

    def __init__(self, weigh: Callable[[Tensor, Tensor, int], Tensor]) -> None:
        self.weigh = weigh

    def __call__(self, pseudo: PseudoLabels, valid: Tensor, step: int) -> Tensor:
        return self.weigh(pseudo.confidence, valid, step)


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device


# What is trained ----------------------------------------------------------------------------------


def build_learner(
    settings: Settings,
    num_classes: int,
    given: Given,
    *,
    download: bool = True,
    choose: Choose | None = None,
    classes: Sequence[str] | None = None,
    spec: ModelSpec | None = None,
    sizes: Iterable[Size] = (),
) -> tuple[Learner, WeightReport | None]:
    """Network, method, optimizer and regularizers; random weights depend on the seed alone.

    Args:
        settings: Of a run.
        num_classes: Number of classes that the network tells apart.
        given: What the data give the method.
        download: Whether ImageNet weights are fetched; without them the network costs as much.
        choose: Says the precision; None is :func:`choose_precision`, which measures nothing.
        classes: Their names. The classifier of an earlier run is taken if its classes are these;
            None takes it if it fits.
        spec: Of a run that goes on: initial weights, which its checkpoint replaces, are not read.
        sizes: Height and width of the images of a new run, which its networks have to take.

    Returns:
        What is trained, and what its weight file gave, if there was one.

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
    if given.teacher is not None:
        check_input_sizes(given.teacher.network, sizes)
    if network.activation_checkpointing:
        checkpoint_blocks(model.backbone, model_title(network))
    if settings.training.sync_batch_norm and world().size > 1:
        model = convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    for each in (model, given.teacher):
        if each is not None:
            each.to(device)
            if settings.training.channels_last:
                each.to(memory_format=torch.channels_last)
    if choose is None:
        precision = choose_precision(settings.training.precision, device, model)
    else:
        precision = choose(model, device)
    chosen = settings.optimizer
    groups = model.parameter_groups(chosen.lr, chosen.weight_decay, head_factor=chosen.head_factor)
    method = build_method(model, settings, given)
    if settings.training.compile:
        compile_networks(method.networks.values())
    optimizer = build_optimizer(groups, chosen)
    regularizers = build_regularizers(settings, num_classes, precision)
    learner = Learner(method, optimizer, precision, regularizers, settings.seed, chosen.clip_norm)
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
        better = earlier.better_one()
        note = f" (note: {better[1]})" if better is not None else ""
        source = f"{network.weights}: {earlier.describe()}{note}"
        report = dataclasses.replace(report, source=source)
    return model, report


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


def learner_of_run(
    settings: Settings,
    data: TrainingData,
    teacher: FixedTeacher | None,
    recorded: Path | None = None,
    *,
    spec: ModelSpec | None = None,
) -> Learner:
    """What is trained in a run; a message says what its weight file gave.

    Args:
        settings: Of the run.
        data: Of the run.
        teacher: Trained network to learn from, if there is one.
        recorded: See :func:`precision_of_run`.
        spec: Network of a run that goes on. It has chosen its precision, and needs no initial
            weights.
    """
    # Nothing here draws from the global generator, which torch starts with a seed of its own in
    # every process; but the dropout of a backbone does, in each process of a run its own.
    rank = world().rank
    torch.manual_seed(derive_seed(settings.seed, "process", rank) if rank else settings.seed)
    last = of_one_stage(settings, -1)
    learner, report = build_learner(
        settings,
        len(data.classes),
        Given(_float(data.distribution), _float(data.frequencies), teacher),
        choose=precision_of_run(
            last.training.precision,
            last.data.batch_labeled,
            training_size(last, "labeled", data),
            recorded,
            measure=spec is None,
        ),
        classes=data.classes.names,
        spec=spec,
        sizes=_sizes(settings, data) if spec is None else (),
    )
    if report is not None:
        LOG.info(report.describe())
    return learner


def _float(shares: NDArray[np.float64] | None) -> Tensor | None:
    return None if shares is None else torch.from_numpy(shares).float()


def _sizes(settings: Settings, data: TrainingData) -> list[Size]:
    """Sizes of the images of a run, of the first where each has its own.

    A file that cannot be read has none; the training skips or refuses it.
    """
    found = []
    for number in range(max(1, len(settings.stages))):
        stage = of_one_stage(settings, number)
        for name in streams_of(settings):
            with suppress(DataError):
                found.append(training_size(stage, name, data))
    with suppress(DataError):
        found.append(settings.data.resize or data.val.size(0))
    return found


# A run --------------------------------------------------------------------------------------------


def build_run(
    settings: Settings,
    data: TrainingData,
    folder: RunDirectory,
    teacher: FixedTeacher | None,
    *,
    spec: ModelSpec | None = None,
) -> Run:
    """Compose the parts of a run; ``spec`` is that of :func:`learner_of_run`."""
    learner = learner_of_run(settings, data, teacher, folder.precision, spec=spec)
    stages = plan_stages(settings, len(data.split.labeled))
    total, workers = settings.training.iterations, loader_workers(settings.data.workers)
    names = ("jsonl", "tensorboard") if settings.training.tensorboard else ("jsonl",)
    skipped = None
    if settings.data.skip_bad:
        samples = {"labeled": len(data.split.labeled), "unlabeled": len(data.unlabeled_indices)}
        share = settings.data.skip_bad_share
        skipped = SkippedSamples(folder.skipped, samples, share, writes=folder.locked)
    return Run(
        learner=learner,
        streams=build_streams(settings, data, stages, learner.method),
        stages=stages,
        schedule=staged(build_schedule(settings.schedule, total), stages),
        momentum=momentum_cycle(settings.schedule, total),
        validate=partial(
            evaluate_on,
            val=data.val,
            data=settings.data,
            resolution=settings.validation.resolution,
            batch_size=settings.validation.batch_size,
            precision=learner.precision,
            workers=workers,
        ),
        folder=folder,
        settings=settings,
        card=network_card(learner.method.student.spec, data.classes, to_flat(settings))
        | {"data": digests(data.record), "records": folder.records()},
        loggers=[LOGGERS[name](folder.path) for name in names] if folder.locked else [],
        skipped=skipped,
    )


def evaluate_on(
    network: nn.Module,
    val: SegmentationDataset,
    data: DataSettings,
    resolution: str,
    batch_size: int,
    precision: Precision,
    workers: int,
) -> Scores:
    """Scores of a network on the validation images of a run."""
    size: Resolution = "native"
    if resolution == "input" and data.resize is not None:
        size = data.resize
    return evaluate(
        network,
        val,
        input_size=data.resize,
        resolution=size,
        device=precision.device,
        autocast=precision.autocast,
        workers=workers,
        batch_size=batch_size,
    )
