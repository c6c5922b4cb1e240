"""What is refused before any data is read."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from mixseg.config.effect import takes_part
from mixseg.config.sections import Settings
from mixseg.distributed import share_of
from mixseg.errors import ConfigError
from mixseg.losses import build_loss
from mixseg.models import check_model_settings
from mixseg.registry import LOGGERS, METHODS, MIXERS, SLOTS
from mixseg.training.build import build_regularizers
from mixseg.training.data import RunData
from mixseg.training.precision import Precision, choose_device
from mixseg.training.saved_network import check_network_of_run
from mixseg.training.schedules import build_schedule
from mixseg.training.stages import of_one_stage


def check_settings(settings: Settings, *, initial_weights: bool = True) -> None:
    """Refuse what cannot be built.

    ``initial_weights`` is False where a checkpoint takes their place: they may be gone.

    Raises:
        ConfigError: Names the setting.
    """
    _check_domains(settings.method, two_domains=settings.two_domains)
    RunData(settings).check()
    network = settings.model
    if not initial_weights:
        network = dataclasses.replace(network, weights="none", weights_sha256=None)
    check_model_settings(network, settings.options)
    check_network_of_run(network)
    _build_parts(settings)
    device = choose_device(settings.training.device)
    if settings.training.sync_batch_norm and device.type == "cpu":
        raise ConfigError("training.sync_batch_norm needs GPUs: torch has it for them alone")
    _check_batches(settings)


def _check_batches(settings: Settings) -> None:
    """Refuse batches of a stage that are no whole number, in all or in each process."""
    streams = RunData(settings).streams
    for number, stage in enumerate(settings.stages if "unlabeled" in streams else (), start=1):
        labeled, unlabeled = settings.data.batch_labeled, settings.data.batch_unlabeled
        if stage.batch * unlabeled % labeled:
            raise ConfigError(
                f"stages: stage {number}: batch {stage.batch} labeled images go with {unlabeled} "
                f"unlabeled for {labeled} labeled ones, which is no whole number"
            )
    for number in range(max(1, len(settings.stages))):
        data = of_one_stage(settings, number).data
        for name in streams:
            try:
                share_of(data.batch_labeled if name == "labeled" else data.batch_unlabeled)
            except ConfigError as error:
                raise ConfigError(f"data.batch_{name}: {error}") from error


def _build_parts(settings: Settings) -> None:
    """Make what can be made without data and network, for its own checks."""
    options, schedule = settings.options, settings.schedule
    build_loss(settings.supervised_loss.name, options, torch.full((2,), 0.5))
    for slot, name in (
        (SLOTS.mixer, settings.mixing.mixer),
        (SLOTS.weighting, settings.targets.weighting),
        (SLOTS.consistency, settings.targets.consistency),
        (SLOTS.augment, settings.augmentation.name),
    ):
        if takes_part(settings.method, slot.parameter):
            slot.registry.build(name, options, num_classes=2, device=torch.device("cpu"))
    if settings.mixing.labeled != "none":
        MIXERS.build(settings.mixing.labeled, options, num_classes=2)
    warmup = schedule.warmup_steps or int(bool(schedule.warmup_epochs))
    build_schedule(schedule.name, options, settings.training.iterations, warmup)
    for name in settings.training.loggers:
        LOGGERS.build(name, options, folder=Path())
    build_regularizers(settings, 2, Precision("fp32", torch.device("cpu")))


def _check_domains(method: str, *, two_domains: bool) -> None:
    """Refuse a source domain that a method does not take, and the lack of one that it needs."""
    wanted = METHODS[method].source_domain  # type: ignore[attr-defined]
    if wanted == "needed" and not two_domains:
        raise ConfigError(f"method {method} needs source_domain.dataset: --source gta5")
    if wanted == "refused" and two_domains:
        raise ConfigError(
            f"method {method} has no source; use domain_adaptation (mixseg uda), or leave "
            "source_domain.dataset out"
        )
