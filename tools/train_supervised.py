"""Supervised training on the labeled part."""

import sys

from mixseg.cli import main

if __name__ == "__main__":
    sys.exit(main(["supervised", *sys.argv[1:]]))
