"""Find a learning rate: the loss while the rate grows, as a curve and a suggestion."""

import sys

from mixseg.cli import main

if __name__ == "__main__":
    sys.exit(main(["find-lr", *sys.argv[1:]]))
