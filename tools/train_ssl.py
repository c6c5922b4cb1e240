"""Semi-supervised training."""

import sys

from mixseg.cli import run
from mixseg.commands.training import train_ssl

if __name__ == "__main__":
    sys.exit(run(train_ssl))
