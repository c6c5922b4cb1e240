"""What this machine has, and what a configured run will need."""

import sys

from mixseg.cli import run
from mixseg.commands.doctor import doctor

if __name__ == "__main__":
    sys.exit(run(doctor))
