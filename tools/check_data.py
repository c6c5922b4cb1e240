"""Damaged, missing and wrong files of the data that a configuration names."""

import sys

from mixseg.cli import run
from mixseg.commands.check_data import check_data

if __name__ == "__main__":
    sys.exit(run(check_data))
