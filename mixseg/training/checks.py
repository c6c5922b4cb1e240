"""What is refused before any data is read."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Iterable

from mixseg.config import Settings, refuse_idle_flags
from mixseg.distributed import share_of
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
    _check_batches(settings)


def _check_batches(settings: Settings) -> None:
    """Refuse batches of a stage that are no whole number, in all or in each process."""
    streams = streams_of(settings)
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
