"""Methods: each file reads like the algorithm of its paper."""

from __future__ import annotations

from collections.abc import Iterable

from mixseg.config import Settings, refuse_idle_flags
from mixseg.engine.method import Method, MethodInputs
from mixseg.errors import ConfigError, unknown_name
from mixseg.methods.distillation import Distillation
from mixseg.methods.domain_adaptation import DomainAdaptation
from mixseg.methods.semi_supervised import SemiSupervised
from mixseg.methods.supervised import Supervised
from mixseg.models import SegmentationModel

METHODS: dict[str, type[Method]] = {
    "distillation": Distillation,
    "domain_adaptation": DomainAdaptation,
    "semi_supervised": SemiSupervised,
    "supervised": Supervised,
}
"""Name -> method from a student and the settings. Add an entry to add a method."""

TRAINING_COMMANDS = {
    "distillation": "distill",
    "domain_adaptation": "uda",
    "semi_supervised": "ssl",
    "supervised": "supervised",
}
"""Method -> command that trains with it."""


def command_of(method: str) -> str:
    """The command that goes on with a run of the method; ``ssl`` does with any that was added."""
    return TRAINING_COMMANDS.get(method, "ssl")


def check_method_name(settings: Settings) -> None:
    """Raise a ConfigError for an unknown method."""
    if settings.method not in METHODS:
        raise ConfigError(f"method: {unknown_name('method', settings.method, METHODS)}")


def check_flags(flags: Iterable[str], settings: Settings) -> list[str]:
    """Refuse flags that do nothing in a run of the method, as :func:`refuse_idle_flags` says.

    Returns:
        Flags of a baseline that have no effect in it, for a note.

    Raises:
        ConfigError: The method is unknown, or a flag does nothing.
    """
    check_method_name(settings)
    method = METHODS[settings.method]
    return refuse_idle_flags(
        flags,
        settings,
        takes_unlabeled="unlabeled" in method.streams_of(settings),
        mixes_unlabeled=method.mixes_unlabeled,
    )


def check_stage_batches(settings: Settings) -> None:
    """Refuse stages whose unlabelled images would be no whole number, if the method takes any.

    Raises:
        ConfigError: The batch of a stage does not have a whole number of unlabelled images.
    """
    if "unlabeled" not in METHODS[settings.method].streams_of(settings):
        return
    data = settings.data
    for number, stage in enumerate(settings.stages, start=1):
        if stage.batch * data.batch_unlabeled % data.batch_labeled:
            raise ConfigError(
                f"stages: stage {number}: batch {stage.batch} labelled images go with "
                f"{data.batch_unlabeled} unlabelled for {data.batch_labeled} labelled ones, which "
                "is no whole number"
            )


def build_method(student: SegmentationModel, settings: Settings, inputs: MethodInputs) -> Method:
    """The method that the settings name; see :class:`mixseg.engine.method.Method`."""
    check_method_name(settings)
    return METHODS[settings.method](student, settings, inputs)


__all__ = [
    "METHODS",
    "TRAINING_COMMANDS",
    "Distillation",
    "DomainAdaptation",
    "SemiSupervised",
    "Supervised",
    "build_method",
    "check_flags",
    "check_method_name",
    "check_stage_batches",
    "command_of",
]
