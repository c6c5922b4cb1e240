"""Train the rows of a table with several seeds and print it."""

import sys

from mixseg.cli import ablate, run

if __name__ == "__main__":
    sys.exit(run(ablate))
