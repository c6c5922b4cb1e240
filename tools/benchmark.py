"""Time and memory of mixseg's code beside a plain transcription of the papers' arithmetic."""

import sys

from mixseg.cli import benchmark, run

if __name__ == "__main__":
    sys.exit(run(benchmark))
