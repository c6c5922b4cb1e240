"""Loggers: where a run writes its values while it goes on, one a file."""

from mixseg.training.loggers.jsonl import JsonLines
from mixseg.training.loggers.logger import Logger
from mixseg.training.loggers.tensorboard import TensorBoard

LOGGERS: dict[str, type[Logger]] = {"jsonl": JsonLines, "tensorboard": TensorBoard}
"""Name -> logger of a run's folder. Add an entry to add a logger."""

__all__ = ["LOGGERS", "JsonLines", "Logger", "TensorBoard"]
