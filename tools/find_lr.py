"""Find a learning rate: the loss while the rate grows, as a curve and a suggestion."""

import sys

from mixseg.cli import run
from mixseg.commands.find_lr import find_lr

if __name__ == "__main__":
    sys.exit(run(find_lr))
