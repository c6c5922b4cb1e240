"""Supervised training on the labelled part."""

import sys

from mixseg.cli import run
from mixseg.commands.training import train_supervised

if __name__ == "__main__":
    sys.exit(run(train_supervised))
