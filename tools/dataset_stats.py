"""Classes, sizes and damaged files of a data set."""

import sys

from mixseg.cli import run
from mixseg.commands.dataset_stats import dataset_stats

if __name__ == "__main__":
    sys.exit(run(dataset_stats))
