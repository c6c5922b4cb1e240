"""Regularizers: further terms of the loss, for any method."""

from mixseg.regularizers.adversarial_temperature import AdversarialTemperature
from mixseg.regularizers.regularizer import Regularizer

__all__ = ["AdversarialTemperature", "Regularizer"]
