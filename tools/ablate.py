"""Train the rows of a table with several seeds and print it."""

import sys

from mixseg.cli import main

if __name__ == "__main__":
    sys.exit(main(["ablate", *sys.argv[1:]]))
