"""Settings and results of several runs in one table."""

import sys

from mixseg.cli import compare, run

if __name__ == "__main__":
    sys.exit(run(compare))
