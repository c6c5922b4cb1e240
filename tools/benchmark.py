"""Time and memory of mixseg's code beside a plain transcription of the papers' arithmetic."""

import sys

from mixseg.cli import run
from mixseg.commands.benchmark import benchmark

if __name__ == "__main__":
    sys.exit(run(benchmark))
