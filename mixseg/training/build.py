"""From settings to objects: the one place where the settings of a run become its parts."""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from timm.layers.norm_act import convert_sync_batchnorm
from torch import Tensor, nn

from mixseg.config.options import parameters_of
from mixseg.config.schema import to_flat
from mixseg.config.sections import (
    DataSettings,
    ScheduleSettings,
    Settings,
    TrainingSettings,
    ValidationSettings,
)
from mixseg.config.values import Size
from mixseg.data.contract import SegmentationDataset
from mixseg.data.record import digests
from mixseg.distributed import world
from mixseg.errors import ConfigError, DataError
from mixseg.evaluation.evaluator import evaluate
from mixseg.evaluation.scores import Scores
from mixseg.losses import build_loss
from mixseg.losses.temperature import tempered
from mixseg.methods import Method
from mixseg.methods.labeled import LabeledMix, MixedUp, Pasted, plain
from mixseg.mixing import Mixup
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
from mixseg.models.wrapped import wrap
from mixseg.randomness import derive_seed
from mixseg.registry import (
    FIXED,
    LOGGERS,
    METHODS,
    REGULARIZERS,
    SLOTS,
    TEACHERS,
    TERMS,
    Slot,
)
from mixseg.regularizers import Regularizer
from mixseg.training.data import RunData, TrainingData
from mixseg.training.from_python import NO_OBJECTS, Objects
from mixseg.training.loop import Learner
from mixseg.training.optimizers import build_optimizer
from mixseg.training.precision import (
    Choose,
    Precision,
    choose_device,
    choose_precision,
    precision_of_run,
)
from mixseg.training.run_directory import RunDirectory
from mixseg.training.saved_network import SavedNetworks, network_card, network_of_run
from mixseg.training.schedules import Schedule, build_schedule
from mixseg.training.stages import of_one_stage, plan_stages, staged
from mixseg.training.state import Run, SkippedSamples
from mixseg.training.streams import build_streams, loader_workers

LOG = logging.getLogger("mixseg")


# Methods ------------------------------------------------------------------------------------------


class Given(NamedTuple):
    """The values that parts of a method need besides the settings.

    Attributes:
        distribution: Class distribution that pseudo-labels are aligned to, float32, shape (C,).
        frequencies: Share of each class among the labeled pixels, float32, shape (C,), for parts
            that ask for ``class_shares``.
        teacher: A trained network to learn from.
        objects: Name of a part, as methods ask for it, or ``network`` -> an object that takes the
            place of what the settings name.
        related: Which classes belong together, bool, shape (C, C), for parts that ask for it.
        class_names: Names of the classes by train id.
    """

    distribution: Tensor | None = None
    frequencies: Tensor | None = None
    teacher: FixedTeacher | None = None
    objects: Mapping[str, Any] = MappingProxyType({})
    related: Tensor | None = None
    class_names: tuple[str, ...] = ()


def build_method(
    student: SegmentationModel,
    settings: Settings,
    given: Given,
    regularizers: Sequence[Regularizer] = (),
) -> Method:
    """The method that the settings name, with the parts that its parameters ask for.

    The student is on its device; regularizers may change what losses divide logits by.
    """
    device = next(student.parameters()).device
    num_classes, options, objects = student.spec.num_classes, settings.options, given.objects
    temperature = math.prod(one.temperature for one in regularizers)

    def on_device(shares: Tensor | None) -> Tensor | None:
        return None if shares is None else shares.to(device)

    counted = {"class_shares": given.frequencies, "related": given.related}
    further: dict[str, Any] = {
        name: value.to(device) for name, value in counted.items() if value is not None
    }

    def chosen(slot: Slot, name: str) -> Any:
        return objects.get(slot.parameter) or slot.registry.build(
            name,
            options,
            slot.section,
            num_classes=num_classes,
            device=device,
            class_names=given.class_names,
            **further,
        )

    def supervised_loss() -> Any:
        loss = objects.get("supervised_loss") or build_loss(
            settings.supervised_loss.name, options, on_device(given.frequencies)
        )
        return tempered(loss, temperature)

    def labeled_mix() -> LabeledMix:
        if "labeled_mix" not in objects and settings.mixing.labeled == "none":
            return plain
        mixer = chosen(SLOTS.labeled_mix, settings.mixing.labeled)
        return MixedUp(mixer, num_classes) if isinstance(mixer, Mixup) else Pasted(mixer)

    def mixer() -> Any:
        found = chosen(SLOTS.mixer, settings.mixing.mixer)
        if isinstance(found, Mixup):
            raise ConfigError(
                "mixing.mixer mixup: it has no mask and needs labels; for labeled images say "
                "mixing.labeled mixup"
            )
        return found

    def style() -> Any:
        if "style" not in objects and settings.style.name == "none":
            return None
        return chosen(SLOTS.style, settings.style.name)

    def teacher() -> Any:
        align, wanted = None, on_device(given.distribution)
        if wanted is not None:
            align = FIXED.build("alignment", options, distribution=wanted)
        name = settings.teacher.name
        asks = "trained_teacher" in parameters_of(TEACHERS[name])
        trained: dict[str, Any] = {"trained_teacher": trained_teacher()} if asks else {}
        return TEACHERS.build(
            name,
            options,
            student=student,
            temperature=temperature,
            align=align,
            **trained,
        )

    def terms() -> dict[str, Any]:
        return {
            name: TERMS.build(
                name,
                options,
                student=student,
                num_classes=num_classes,
                class_names=given.class_names,
                device=device,
                augment=parts["augment"](),
                **further,
            )
            for name in settings.terms
        }

    def trained_teacher() -> FixedTeacher:
        if given.teacher is None:
            raise ConfigError(
                f"method {settings.method} needs a trained network here, distillation.teacher, "
                "which is a run or a weight file: --teacher RUN"
            )
        return given.teacher

    maps = [one.map_temperature for one in regularizers if one.map_temperature]
    parts: dict[str, Callable[[], Any]] = {
        "student": lambda: student,
        "supervised_loss": supervised_loss,
        "labeled_mix": labeled_mix,
        "mixer": mixer,
        "teacher": teacher,
        "average": lambda: FIXED.build("average", options, student=student),
        "weighting": lambda: chosen(SLOTS.weighting, settings.targets.weighting),
        "consistency": lambda: tempered(
            chosen(SLOTS.consistency, settings.targets.consistency), temperature
        ),
        "augment": lambda: chosen(SLOTS.augment, settings.augmentation.name),
        "terms": terms,
        "style": style,
        "trained_teacher": trained_teacher,
        "loss_temperature": lambda: temperature,
        "map_temperature": lambda: next(iter(maps), None),
    }
    asked = parameters_of(METHODS[settings.method])
    return METHODS.build(
        settings.method, options, **{name: parts[name]() for name in parts if name in asked}
    )


def build_regularizers(
    name: str,
    options: Mapping[str, Any],
    num_classes: int,
    precision: Precision,
    schedule: ScheduleSettings,
    training: TrainingSettings,
    seed: int,
) -> tuple[Regularizer, ...]:
    """The regularizer of a name, or none at all; ``schedule`` is that of the student."""
    if name == "none":
        return ()
    section = REGULARIZERS.options(name)[0].path.partition(".")[0]
    total = training.iterations

    def schedules(chosen: str, warmup: int) -> Schedule:
        """The student's schedule for ``same``, else one of its own with the same options."""
        if chosen == "same":
            return build_schedule(schedule.name, options, total, schedule.warmup_steps)[0]
        return build_schedule(chosen, options, total, warmup, section)[0]

    regularizer = REGULARIZERS.build(
        name,
        options,
        num_classes=num_classes,
        device=precision.device,
        seed=seed,
        schedules=schedules,
        bf16=precision.name == "bf16",
        channels_last=training.channels_last,
    )
    return (regularizer,)


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
        settings: Settings of a run.
        num_classes: Number of classes that the network tells apart.
        given: Values from the data.
        download: False starts without ImageNet weights; the network costs as much.
        choose: Chooses the precision; None is :func:`choose_precision`, which measures nothing.
        classes: Names of the classes. The classifier of an earlier run is taken if its classes are
            these; None takes it if it fits.
        spec: The network of a run that goes on, whose checkpoint replaces initial weights.
        sizes: Height and width of the images of a new run, which its networks have to take.

    Returns:
        What is trained, and what its weight file gave, if there was one.

    Raises:
        ConfigError: An unknown name, or what cannot be built or does not take images of a size.
        CheckpointError: Weights cannot be had, are unsafe, or do not fit.
    """
    training, optimizer, network = settings.training, settings.optimizer, settings.model
    device = choose_device(training.device)
    if device.type == "cuda":
        # All batches have one size, so that looking for the fastest algorithms pays.
        torch.backends.cudnn.benchmark = settings.crops or settings.data.resize is not None
    report = None
    if "network" in given.objects:
        model = wrap(given.objects["network"], num_classes, network.mean, network.std)
        model.set_batch_norm(network.batch_norm)
    elif spec is not None:
        with torch.random.fork_rng(devices=()):  # on the CPU; its random weights are replaced
            model = build_model(spec)
        model.set_batch_norm(network.batch_norm)
    else:
        if network.weights == "imagenet" and not download:
            network = dataclasses.replace(network, weights="none")
        initial = partial(
            build_initial_model, network, settings.options, num_classes, settings.seed
        )
        earlier = network_of_run(network)
        if earlier is None:
            model, report = initial()
        else:
            model, report = _continued(earlier, initial, classes, network.weights)
    sizes = tuple(sizes)
    check_input_sizes(model, sizes)
    if given.teacher is not None:
        check_input_sizes(given.teacher.network, sizes)
    if network.activation_checkpointing:
        checkpoint_blocks(model.backbone, model_title(network))
    if training.sync_batch_norm and world().size > 1:
        model = convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    for each in (model, given.teacher):
        if each is not None:
            each.to(device)
            if training.channels_last:
                each.to(memory_format=torch.channels_last)
    if choose is None:
        precision = choose_precision(training.precision, device, model)
    else:
        precision = choose(model, device)
    model.freeze(network.freeze)
    groups = model.parameter_groups(
        optimizer.lr,
        optimizer.weight_decay,
        head_factor=optimizer.head_factor,
        no_decay_norms=optimizer.no_decay_norms,
        layer_decay=optimizer.layer_decay,
    )
    regularizers = build_regularizers(
        settings.regularizer,
        settings.options,
        num_classes,
        precision,
        settings.schedule,
        training,
        settings.seed,
    )
    method = build_method(model, settings, given, regularizers)
    if training.compile:
        compile_networks(method.networks.values())
    built = build_optimizer(optimizer.name, groups, optimizer.lr, settings.options)
    learner = Learner(method, built, precision, regularizers, settings.seed, optimizer.clip_norm)
    return learner, report


def _continued(
    earlier: SavedNetworks,
    initial: Callable[..., tuple[SegmentationModel, WeightReport | None]],
    classes: Sequence[str] | None,
    weights: str,
) -> tuple[SegmentationModel, WeightReport | None]:
    (trained,) = earlier.networks.values()
    same = classes is None or tuple(classes) == earlier.classes.names
    model, report = initial(trained, keep_classifier=same)
    if report is not None:
        better = earlier.better_one()
        note = f" (note: {better[1]})" if better is not None else ""
        report = dataclasses.replace(report, source=f"{weights}: {earlier.describe()}{note}")
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
    objects: Mapping[str, Any] = MappingProxyType({}),
) -> Learner:
    """What is trained in a run; a message says what its weight file gave.

    ``recorded`` is as for :func:`precision_of_run`. ``spec`` is the network of a run that goes on,
    which has chosen its precision and needs no initial weights.
    """
    # Nothing here draws from the global generator, which torch starts with a seed of its own in
    # every process; but the dropout of a backbone does, in each process of a run its own.
    rank = world().rank
    torch.manual_seed(derive_seed(settings.seed, "process", rank) if rank else settings.seed)
    stages = [of_one_stage(settings, number) for number in range(max(1, len(settings.stages)))]
    sizes: list[Size] = []
    for stage in stages if spec is None else ():
        for name in RunData(stage).streams:
            with suppress(DataError):  # of a file that training skips or refuses
                sizes.append(RunData(stage).size(name, data))
    if spec is None:
        with suppress(DataError):
            sizes.append(settings.data.resize or data.val.size(0))
    learner, report = build_learner(
        settings,
        len(data.classes),
        Given(
            _float(data.distribution),
            _float(data.frequencies),
            teacher,
            objects,
            None if data.related is None else torch.from_numpy(data.related),
            data.classes.names,
        ),
        choose=precision_of_run(
            settings.training.precision,
            stages[-1].data.batch_labeled,
            RunData(stages[-1]).size("labeled", data),
            recorded,
            measure=spec is None,
        ),
        classes=data.classes.names,
        spec=spec,
        sizes=sizes,
    )
    if report is not None:
        LOG.info(report.describe())
    return learner


def _float(shares: NDArray[np.float64] | None) -> Tensor | None:
    return None if shares is None else torch.from_numpy(shares).float()


# A run --------------------------------------------------------------------------------------------


def build_run(
    settings: Settings,
    data: TrainingData,
    folder: RunDirectory,
    teacher: FixedTeacher | None,
    objects: Objects = NO_OBJECTS,
    *,
    spec: ModelSpec | None = None,
) -> Run:
    """Compose the parts of a run; ``spec`` is that of :func:`learner_of_run`."""
    learner = learner_of_run(
        settings, data, teacher, folder.precision, spec=spec, objects=objects.parts
    )
    training, own = settings.training, settings.schedule
    stages = plan_stages(settings.stages, settings.data, training, len(data.split.labeled))
    schedule, momentum = build_schedule(
        own.name, settings.options, training.iterations, own.warmup_steps
    )
    skipped = None
    if settings.data.skip_bad:
        samples = {name: len(indices) for name, (_, indices) in data.streams.items()}
        share = settings.data.skip_bad_share
        skipped = SkippedSamples(folder.skipped, samples, share, writes=folder.locked)
    card = network_card(learner.method.student.spec, data.classes, to_flat(settings))
    return Run(
        learner=learner,
        streams=build_streams(
            data,
            settings.labeled_section,
            settings.data,
            stages,
            learner.method,
            settings.sampling,
            seed=settings.seed,
            accumulate=training.accumulate,
        ),
        stages=stages,
        schedule=staged(schedule, stages),
        momentum=momentum,
        evaluate=partial(
            evaluate_on,
            val=data.val,
            data=settings.data,
            validation=settings.validation,
            precision=learner.precision,
        ),
        folder=folder,
        settings=settings,
        card=card
        | {"data": digests(data.record), "records": folder.records(), "objects": objects.names},
        loggers=[
            LOGGERS.build(name, settings.options, folder=folder.path)
            for name in dict.fromkeys(("jsonl", *training.loggers))
            if folder.locked
        ],
        skipped=skipped,
    )


def evaluate_on(
    network: nn.Module,
    val: SegmentationDataset,
    data: DataSettings,
    validation: ValidationSettings,
    precision: Precision,
) -> Scores:
    """Scores of a network on the validation images of a run."""
    resolution = data.resize if validation.resolution == "input" else None
    return evaluate(
        network,
        val,
        input_size=data.resize,
        resolution=resolution or "native",
        device=precision.device,
        autocast=precision.autocast,
        workers=loader_workers(data.workers),
        batch_size=validation.batch_size,
    )
