"""Parameters, operations, time and memory of a network and its training step."""

import sys

from mixseg.cli import profile_model, run

if __name__ == "__main__":
    sys.exit(run(profile_model))
