"""Damaged, missing and wrong files of the data that a configuration names."""

import sys

from mixseg.cli import check_data, run

if __name__ == "__main__":
    sys.exit(run(check_data))
