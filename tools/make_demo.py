"""Write demo scenes."""

import sys

from mixseg.cli import make_demo, run

if __name__ == "__main__":
    sys.exit(run(make_demo))
