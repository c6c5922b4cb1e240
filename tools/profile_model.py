"""Parameters, operations, time and memory of a network and its training step."""

import sys

from mixseg.cli import run
from mixseg.commands.profile_model import profile_model

if __name__ == "__main__":
    sys.exit(run(profile_model))
