"""Methods: each file reads like the algorithm of its paper."""

from mixseg.methods.distillation import Distillation
from mixseg.methods.domain_adaptation import DomainAdaptation
from mixseg.methods.method import Backward, Method, StreamOutput
from mixseg.methods.semi_supervised import SemiSupervised
from mixseg.methods.supervised import Supervised
from mixseg.randomness import StepRandom

__all__ = [
    "Backward",
    "Distillation",
    "DomainAdaptation",
    "Method",
    "SemiSupervised",
    "StepRandom",
    "StreamOutput",
    "Supervised",
]
