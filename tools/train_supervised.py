"""Supervised training on the labelled part."""

import sys

from mixseg.cli import run, train_supervised

if __name__ == "__main__":
    sys.exit(run(train_supervised))
