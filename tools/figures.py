"""Figures of data sets and of runs, with their data beside them."""

import sys

from mixseg.cli import main

if __name__ == "__main__":
    sys.exit(main(["figures", *sys.argv[1:]]))
