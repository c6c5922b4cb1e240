"""Settings and results of several runs in one table."""

import sys

from mixseg.cli import run
from mixseg.commands.compare import compare

if __name__ == "__main__":
    sys.exit(run(compare))
