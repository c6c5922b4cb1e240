"""Find a learning rate: the loss while the rate grows, as a curve and a suggestion."""

import sys

from mixseg.cli import find_lr, run

if __name__ == "__main__":
    sys.exit(run(find_lr))
