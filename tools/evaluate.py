"""Evaluate a checkpoint."""

import sys

from mixseg.cli import run
from mixseg.commands.evaluate import evaluate_checkpoint

if __name__ == "__main__":
    sys.exit(run(evaluate_checkpoint))
