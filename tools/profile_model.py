"""Parameters, operations, time and memory of a network and its training step."""

import sys

from mixseg.cli import main

if __name__ == "__main__":
    sys.exit(main(["profile", *sys.argv[1:]]))
