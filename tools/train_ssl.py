"""Semi-supervised training."""

import sys

from mixseg.cli import train_ssl, run

if __name__ == "__main__":
    sys.exit(run(train_ssl))
