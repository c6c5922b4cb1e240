"""Write a trained network as a file that runs without mixseg."""

import sys

from mixseg.cli import run
from mixseg.commands.export import export

if __name__ == "__main__":
    sys.exit(run(export))
