"""Methods: each file reads like the algorithm of its paper."""

from __future__ import annotations

from mixseg.errors import ConfigError, unknown_name
from mixseg.methods.distillation import Distillation
from mixseg.methods.domain_adaptation import DomainAdaptation
from mixseg.methods.method import Backward, Method, StepRandom, StreamOutput
from mixseg.methods.semi_supervised import SemiSupervised
from mixseg.methods.supervised import Supervised

METHODS: dict[str, type[Method]] = {
    "distillation": Distillation,
    "domain_adaptation": DomainAdaptation,
    "semi_supervised": SemiSupervised,
    "supervised": Supervised,
}
"""Name -> method. Add an entry, and its construction in ``training/build.py``, to add a method."""

TRAINING_COMMANDS = {
    "distillation": "distill",
    "domain_adaptation": "uda",
    "semi_supervised": "ssl",
    "supervised": "supervised",
}
"""Method -> command that trains with it."""


def command_of(method: str) -> str:
    """The command that resumes a run of the method; ``ssl`` resumes one that was added."""
    return TRAINING_COMMANDS.get(method, "ssl")


def check_method_name(name: str) -> None:
    """Raise a ConfigError for an unknown method."""
    if name not in METHODS:
        raise ConfigError(f"method: {unknown_name('method', name, METHODS)}")


__all__ = [
    "METHODS",
    "TRAINING_COMMANDS",
    "Backward",
    "Distillation",
    "DomainAdaptation",
    "Method",
    "SemiSupervised",
    "StepRandom",
    "StreamOutput",
    "Supervised",
    "check_method_name",
    "command_of",
]
