"""Distillation of a trained network into a smaller one."""

import sys

from mixseg.cli import distill, run

if __name__ == "__main__":
    sys.exit(run(distill))
