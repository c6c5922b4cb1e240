"""Domain adaptation from labelled renderings to unlabelled photographs."""

import sys

from mixseg.cli import run
from mixseg.commands.training import train_uda

if __name__ == "__main__":
    sys.exit(run(train_uda))
