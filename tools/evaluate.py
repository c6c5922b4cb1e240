"""Evaluate a checkpoint."""

import sys

from mixseg.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
