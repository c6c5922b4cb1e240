"""Classes, sizes and damaged files of a data set."""

import sys

from mixseg.cli import main

if __name__ == "__main__":
    sys.exit(main(["dataset-stats", *sys.argv[1:]]))
