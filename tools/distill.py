"""Distillation of a trained network into a smaller one."""

import sys

from mixseg.cli import run
from mixseg.commands.training import distill

if __name__ == "__main__":
    sys.exit(run(distill))
