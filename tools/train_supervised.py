"""Supervised training on the labelled part."""

import sys

from mixseg.cli import train_supervised, run

if __name__ == "__main__":
    sys.exit(run(train_supervised))
