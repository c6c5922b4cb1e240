"""Semi-supervised training."""

import sys

from mixseg.cli import main

if __name__ == "__main__":
    sys.exit(main(["ssl", *sys.argv[1:]]))
