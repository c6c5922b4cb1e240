"""What this machine has, and what a configured run will need."""

import sys

from mixseg.cli import main

if __name__ == "__main__":
    sys.exit(main(["doctor", *sys.argv[1:]]))
