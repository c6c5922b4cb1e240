"""Distillation between classifiers: the first experiment of the report on shallow networks."""

import sys

from mixseg.cli import distill_cifar10, run

if __name__ == "__main__":
    sys.exit(run(distill_cifar10))
