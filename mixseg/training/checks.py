"""What is refused before any data is read."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Iterable

from mixseg.config import Settings, refuse_idle_flags
from mixseg.distributed import share_of, world
from mixseg.errors import ConfigError
from mixseg.losses import build_consistency, check_loss
from mixseg.methods import METHODS, check_method_name
from mixseg.mixing import build_mixer, check_labeled_mixer
from mixseg.models import check_model_settings
from mixseg.regularizers import check_regularizer
from mixseg.targets import build_weighting
from mixseg.training.data import check_data_settings, streams_of
from mixseg.training.initial import check_network_of_run
from mixseg.training.optimizers import check_optimizer_name
from mixseg.training.precision import choose_device
from mixseg.training.schedules import build_schedule
from mixseg.training.stages import of_one_stage


def check_settings(settings: Settings, *, initial_weights: bool = True) -> None:
    """Refuse unknown names of components before any data is read.

    Args:
        settings: Of a run.
        initial_weights: False where a checkpoint takes their place: they may be gone.
    """
    check_method_name(settings.method)
    check_stage_batches(settings)
    check_data_settings(settings)
    network = settings.model
    if not initial_weights:
        network = dataclasses.replace(network, weights="none", weights_sha256=None)
    check_model_settings(network)
    check_network_of_run(network)
    build_mixer(settings.mixing, num_classes=1)
    check_labeled_mixer(settings.mixing)
    check_loss(settings.supervised_loss)
    build_weighting(settings.targets)
    build_consistency(settings.targets)
    build_schedule(settings.schedule, settings.training.iterations)
    check_optimizer_name(settings.optimizer)
    check_regularizer(settings)
    if settings.training.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise ConfigError(
            "training.tensorboard: tensorboard is missing; pip install 'mixseg[tensorboard]'"
        )
    device = choose_device(settings.training.device)
    if settings.training.sync_batch_norm and device.type == "cpu":
        raise ConfigError("training.sync_batch_norm needs GPUs: torch has it for them alone")
    _check_shares(settings)


def _check_shares(settings: Settings) -> None:
    """Refuse batches that cannot be divided among the processes of the run."""
    if world().size == 1:
        return
    for number in range(max(1, len(settings.stages))):
        data = of_one_stage(settings, number).data
        for name in streams_of(settings):
            try:
                share_of(data.batch_labeled if name == "labeled" else data.batch_unlabeled)
            except ConfigError as error:
                raise ConfigError(f"data.batch_{name}: {error}") from error


def check_flags(flags: Iterable[str], settings: Settings) -> list[str]:
    """Refuse flags that do nothing in a run of the method, as :func:`refuse_idle_flags` says.

    Returns:
        Flags of a baseline that have no effect in it, for a note.

    Raises:
        ConfigError: The method is unknown, or a flag does nothing.
    """
    check_method_name(settings.method)
    return refuse_idle_flags(
        flags,
        settings,
        takes_unlabeled="unlabeled" in streams_of(settings),
        mixes_unlabeled=METHODS[settings.method].mixes_unlabeled,
    )


def check_stage_batches(settings: Settings) -> None:
    """Refuse stages whose unlabeled images would be no whole number, if the method takes any.

    Raises:
        ConfigError: The batch of a stage does not have a whole number of unlabeled images.
    """
    if "unlabeled" not in streams_of(settings):
        return
    data = settings.data
    for number, stage in enumerate(settings.stages, start=1):
        if stage.batch * data.batch_unlabeled % data.batch_labeled:
            raise ConfigError(
                f"stages: stage {number}: batch {stage.batch} labeled images go with "
                f"{data.batch_unlabeled} unlabeled for {data.batch_labeled} labeled ones, which "
                "is no whole number"
            )
