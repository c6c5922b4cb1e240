"""Classes, sizes and damaged files of a data set."""

import sys

from mixseg.cli import dataset_stats, run

if __name__ == "__main__":
    sys.exit(run(dataset_stats))
