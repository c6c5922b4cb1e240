"""What is refused before any data is read."""

from __future__ import annotations

import dataclasses
from importlib.util import find_spec

import torch

from mixseg.config.effect import takes_part
from mixseg.config.sections import Settings
from mixseg.distributed import share_of
from mixseg.errors import ConfigError
from mixseg.losses import build_loss
from mixseg.models import check_model_settings
from mixseg.registry import METHODS, MIXERS, SLOTS
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
    opener = RunData(settings)
    _check_domains(settings.method, two_domains=settings.two_domains)
    data = settings.data
    for number, stage in enumerate(settings.stages, start=1):
        whole = stage.batch * data.batch_unlabeled % data.batch_labeled == 0
        if "unlabeled" in opener.streams and not whole:
            raise ConfigError(
                f"stages: stage {number}: batch {stage.batch} labeled images go with "
                f"{data.batch_unlabeled} unlabeled for {data.batch_labeled} labeled ones, which "
                "is no whole number"
            )
    opener.check()
    network = settings.model
    if not initial_weights:
        network = dataclasses.replace(network, weights="none", weights_sha256=None)
    check_model_settings(network, settings.options)
    check_network_of_run(network)
    # What can be made without data and network is made, for its own checks.
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
    build_regularizers(settings, 2, Precision("fp32", torch.device("cpu")))
    if "tensorboard" in settings.training.loggers and find_spec("tensorboard") is None:
        raise ConfigError(
            "training.loggers: tensorboard is missing; pip install 'mixseg[tensorboard]'"
        )
    device = choose_device(settings.training.device)
    if settings.training.sync_batch_norm and device.type == "cpu":
        raise ConfigError("training.sync_batch_norm needs GPUs: torch has it for them alone")
    for number in range(max(1, len(settings.stages))):
        data = of_one_stage(settings, number).data
        for name in opener.streams:
            try:
                share_of(data.batch_labeled if name == "labeled" else data.batch_unlabeled)
            except ConfigError as error:
                raise ConfigError(f"data.batch_{name}: {error}") from error


def _check_domains(method: str, *, two_domains: bool) -> None:
    wanted = METHODS[method].source_domain  # type: ignore[attr-defined]
    if wanted == "needed" and not two_domains:
        raise ConfigError(f"method {method} needs source_domain.dataset: --source gta5")
    if wanted == "refused" and two_domains:
        raise ConfigError(
            f"method {method} has no source; use domain_adaptation (mixseg uda), or leave "
            "source_domain.dataset out"
        )
