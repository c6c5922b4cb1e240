"""Semi-supervised training."""

import sys

from mixseg.cli import run, train_ssl

if __name__ == "__main__":
    sys.exit(run(train_ssl))
