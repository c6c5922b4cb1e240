"""Evaluate a checkpoint."""

import sys

from mixseg.cli import evaluate_checkpoint, run

if __name__ == "__main__":
    sys.exit(run(evaluate_checkpoint))
