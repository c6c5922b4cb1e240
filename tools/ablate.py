"""Train the rows of a table with several seeds and print it."""

import sys

from mixseg.cli import run
from mixseg.commands.ablate import ablate

if __name__ == "__main__":
    sys.exit(run(ablate))
