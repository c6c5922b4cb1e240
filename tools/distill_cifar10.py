"""Distillation between classifiers: the first experiment of the report on shallow networks."""

import sys

from mixseg.cli import run
from mixseg.commands.distill_cifar10 import distill_cifar10

if __name__ == "__main__":
    sys.exit(run(distill_cifar10))
