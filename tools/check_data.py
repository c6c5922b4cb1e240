"""Damaged, missing and wrong files of the data that a configuration names."""

import sys

from mixseg.cli import main

if __name__ == "__main__":
    sys.exit(main(["check-data", *sys.argv[1:]]))
