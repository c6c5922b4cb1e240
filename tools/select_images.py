"""Unlabeled images that are worth a label."""

import sys

from mixseg.cli import main

if __name__ == "__main__":
    sys.exit(main(["select", *sys.argv[1:]]))
