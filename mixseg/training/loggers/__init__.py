"""Loggers: where a run writes its values while it goes on, one a file."""

from mixseg.training.loggers.jsonl import JsonLines
from mixseg.training.loggers.logger import Logger
from mixseg.training.loggers.tensorboard import TensorBoard

__all__ = ["JsonLines", "Logger", "TensorBoard"]
