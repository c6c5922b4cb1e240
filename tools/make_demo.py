"""Write demo scenes."""

import sys

from mixseg.cli import run
from mixseg.commands.make_demo import make_demo

if __name__ == "__main__":
    sys.exit(run(make_demo))
