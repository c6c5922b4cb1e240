"""Settings of which no run can be built are refused before any data is read."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from mixseg.config.effect import takes_part
from mixseg.config.sections import Settings
from mixseg.data.layout import classes_of
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
from mixseg.training.stages import data_by_stage


def check_settings(settings: Settings, *, initial_weights: bool = True) -> None:
    """Refuse what cannot be built.

    ``initial_weights`` is False where a checkpoint takes their place: they may be gone.

    Raises:
        ConfigError: Names the setting.
    """
    method, options = settings.method, settings.options
    training, schedule = settings.training, settings.schedule
    source_domain = METHODS[method].source_domain  # type: ignore[attr-defined]
    if source_domain == "needed" and not settings.two_domains:
        raise ConfigError(f"method {method} needs source_domain.dataset: --source gta5")
    if source_domain == "refused" and settings.two_domains:
        raise ConfigError(
            f"method {method} has no source; use domain_adaptation (mixseg uda), or leave "
            "source_domain.dataset out"
        )
    run_data = RunData(settings)
    run_data.check()
    network = settings.model
    if not initial_weights:
        network = dataclasses.replace(network, weights="none", weights_sha256=None)
    check_model_settings(network, options)
    check_network_of_run(network)

    # Parts that need neither data nor network check their own options.
    cpu = torch.device("cpu")
    known = classes_of(settings.data.dataset)  # None where only the data name them
    count = 2 if known is None else len(known)
    stand_ins: dict[str, Any] = {
        "num_classes": count,
        "device": cpu,
        "class_names": () if known is None else known.names,
        "class_shares": torch.full((count,), 1 / count),
        "related": torch.eye(count) > 0,
    }
    build_loss(settings.supervised_loss.name, options, torch.full((2,), 0.5))
    for slot, name in (
        (SLOTS.mixer, settings.mixing.mixer),
        (SLOTS.weighting, settings.targets.weighting),
        (SLOTS.consistency, settings.targets.consistency),
        (SLOTS.augment, settings.augmentation.name),
        (SLOTS.style, settings.style.name),
    ):
        if takes_part(method, slot.parameter) and name not in slot.also:
            slot.registry.build(name, options, **stand_ins)
    if settings.mixing.labeled != "none":
        MIXERS.build(settings.mixing.labeled, options, **stand_ins)
    warmup = schedule.warmup_steps or int(bool(schedule.warmup_epochs))
    build_schedule(schedule.name, options, training.iterations, warmup)
    for name in training.loggers:
        LOGGERS.build(name, options, folder=Path())
    on_cpu = Precision("fp32", cpu)
    build_regularizers(settings.regularizer, options, 2, on_cpu, schedule, training, settings.seed)

    device = choose_device(training.device)
    if training.sync_batch_norm and device.type == "cpu":
        raise ConfigError("training.sync_batch_norm needs GPUs: torch has it for them alone")

    # Batches have to be whole numbers, in all and in each process.
    labeled = settings.data.batch_labeled
    for number, stage in enumerate(settings.stages, start=1):
        for name in run_data.streams:
            size = settings.data.batches[name]
            if stage.batch * size % labeled:
                raise ConfigError(
                    f"stages: stage {number}: batch {stage.batch} labeled images go with {size} "
                    f"{name} for {labeled} labeled ones, which is no whole number"
                )
    for data in data_by_stage(settings.data, settings.stages):
        for name in run_data.streams:
            try:
                share_of(data.batches[name])
            except ConfigError as error:
                raise ConfigError(f"data.batch_{name}: {error}") from error
