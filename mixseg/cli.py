"""The commands. ``mixseg NAME`` and ``python tools/...`` run the same functions."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from mixseg import __version__
from mixseg.commands.ablate import ablate
from mixseg.commands.benchmark import benchmark
from mixseg.commands.check_data import check_data
from mixseg.commands.compare import compare
from mixseg.commands.contract import EXIT_ERROR, EXIT_USAGE, Command
from mixseg.commands.dataset_stats import dataset_stats
from mixseg.commands.distill_cifar10 import distill_cifar10
from mixseg.commands.doctor import doctor
from mixseg.commands.evaluate import evaluate_checkpoint
from mixseg.commands.figures import figures
from mixseg.commands.find_lr import find_lr
from mixseg.commands.make_demo import make_demo
from mixseg.commands.predict import predict
from mixseg.commands.prepare_data import prepare_data
from mixseg.commands.profile_model import profile_model
from mixseg.commands.training import distill, train_ssl, train_supervised, train_uda
from mixseg.distributed import started_by_torchrun
from mixseg.errors import ConfigError, MixsegError, unknown_name
from mixseg.escaping import printable

COMMANDS: dict[str, Command] = {
    "ssl": train_ssl,
    "supervised": train_supervised,
    "distill": distill,
    "distill-cifar10": distill_cifar10,
    "evaluate": evaluate_checkpoint,
    "uda": train_uda,
    "predict": predict,
    "make-demo": make_demo,
    "ablate": ablate,
    "dataset-stats": dataset_stats,
    "check-data": check_data,
    "prepare-data": prepare_data,
    "doctor": doctor,
    "figures": figures,
    "compare": compare,
    "profile": profile_model,
    "benchmark": benchmark,
    "find-lr": find_lr,
}
"""Name -> command. Add an entry to add a command."""


DIVIDED = (train_ssl, train_uda, train_supervised, distill, evaluate_checkpoint, predict)
"""Commands that torchrun may start."""


def run(command: Command, arguments: Sequence[str] | None = None) -> int:
    """Run a command; errors that are meant for people are printed without a traceback."""
    try:
        if started_by_torchrun() and command not in DIVIDED:
            raise ConfigError("this command runs in one process: start it without torchrun")
        return command(sys.argv[1:] if arguments is None else arguments)
    except MixsegError as error:
        code = EXIT_USAGE if isinstance(error, ConfigError) else EXIT_ERROR
        # The processes have parted by now, but torchrun has told each its number.
        rank = os.environ.get("RANK", "0")
        if rank == "0" or not error.everywhere:
            where = "" if rank == "0" else f"process {rank}: "
            print(f"error: {printable(where + str(error))}", file=sys.stderr)
        return code
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {printable(where)}{error.strerror or error}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        return 130


def main() -> int:
    """``mixseg COMMAND ...``."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["--version"]:
        print(__version__)
        return 0
    if not arguments or arguments[0] in ("-h", "--help"):
        print(f"usage: mixseg {{{','.join(COMMANDS)}}} ...\n\nmixseg COMMAND --help says more.")
        return 0 if arguments else EXIT_USAGE
    if arguments[0] not in COMMANDS:
        print(f"error: {unknown_name('command', arguments[0], COMMANDS)}", file=sys.stderr)
        return EXIT_USAGE
    return run(COMMANDS[arguments[0]], arguments[1:])
