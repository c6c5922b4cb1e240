"""Settings and results of several runs in one table."""

import sys

from mixseg.cli import main

if __name__ == "__main__":
    sys.exit(main(["compare", *sys.argv[1:]]))
