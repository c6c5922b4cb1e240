"""Figures of data sets and of runs, with their data beside them."""

import sys

from mixseg.cli import run
from mixseg.commands.figures import figures

if __name__ == "__main__":
    sys.exit(run(figures))
