"""The commands. ``mixseg NAME`` and ``python tools/...`` run the same functions."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from mixseg import __version__
from mixseg.commands.contract import (
    EXIT_ERROR,
    EXIT_USAGE,
    PRINTS_ITS_RESULT,
    SEVERAL_PROCESSES,
    Command,
)
from mixseg.errors import ConfigError, MixsegError, unknown_name
from mixseg.terminal import complain, exit_code, guard, new_console, say
from mixseg.torchrun import started_by_torchrun


@final
@dataclass(frozen=True)
class Entry:
    """Where a command is, and what ``--help`` says about it.

    Only the command that was typed is imported: torch alone takes seconds.
    """

    module: str
    function: str
    help: str

    def load(self) -> Command:
        """Import the command."""
        command: Command = getattr(
            importlib.import_module(f"mixseg.commands.{self.module}"), self.function
        )
        return command


GROUPS: dict[str, dict[str, Entry]] = {
    "train": {
        "ssl": Entry("training", "train_ssl", "few labelled and many unlabelled images"),
        "uda": Entry("training", "train_uda", "labelled renderings and unlabelled photographs"),
        "supervised": Entry("training", "train_supervised", "labelled images alone"),
        "distill": Entry("training", "distill", "a small network from a trained one"),
    },
    "use what was trained": {
        "evaluate": Entry("evaluate", "evaluate_checkpoint", "scores on a split"),
        "predict": Entry("predict", "predict", "label maps and pictures of image files"),
        "export": Entry("export", "export", "a network as a file for programs without mixseg"),
    },
    "look before training": {
        "doctor": Entry("doctor", "doctor", "this machine, and what a run will need of it"),
        "check-data": Entry("check_data", "check_data", "damaged, missing and wrong files"),
        "dataset-stats": Entry("dataset_stats", "dataset_stats", "classes and sizes of a data set"),
        "prepare-data": Entry("prepare_data", "prepare_data", "a smaller copy that loads faster"),
        "make-demo": Entry("make_demo", "make_demo", "built-in scenes as files"),
        "find-lr": Entry("find_lr", "find_lr", "a learning rate: loss against a growing rate"),
        "profile": Entry("profile_model", "profile_model", "what a network and its step cost"),
    },
    "compare": {
        "ablate": Entry("ablate", "ablate", "the rows of a table, each with several seeds"),
        "compare": Entry("compare", "compare", "settings and results of several runs"),
        "figures": Entry("figures", "figures", "the papers' figures, of data sets and runs"),
    },
}
"""Commands by what they are for. Add an entry to add a command."""

COMMANDS = {name: entry for group in GROUPS.values() for name, entry in group.items()}
"""Name -> command."""

MOVED = {
    "benchmark": "python -m benchmarks",
    "distill-cifar10": "python examples/distill_cifar10.py",
}
"""Former command -> what does the same now, in the folder of the source code."""


def run(command: Command, arguments: Sequence[str] | None = None) -> int:
    """Run a command; errors that are meant for people are printed without a traceback."""
    guard()
    printed = command in PRINTS_ITS_RESULT
    try:
        code = _run(command, arguments)
    except SystemExit as stop:  # argparse has printed the help
        printed = True
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return exit_code(code, printed=printed)


def _run(command: Command, arguments: Sequence[str] | None) -> int:
    try:
        if started_by_torchrun() and command not in SEVERAL_PROCESSES:
            raise ConfigError("this command runs in one process: start it without torchrun")
        return command(sys.argv[1:] if arguments is None else arguments)
    except MixsegError as error:
        code = EXIT_USAGE if isinstance(error, ConfigError) else EXIT_ERROR
        # The processes have parted by now, but torchrun has told each its number.
        rank = os.environ.get("RANK", "0")
        if rank == "0" or not error.everywhere:
            where = "" if rank == "0" else f"process {rank}: "
            complain(f"error: {where}{error}")
        return code
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        complain(f"error: {where}{error.strerror or error}")
        return EXIT_ERROR
    except KeyboardInterrupt:
        return 130


def main() -> int:
    """``mixseg COMMAND ...``."""
    guard()
    arguments = sys.argv[1:]
    if arguments[:1] == ["--version"]:
        return _printed(__version__)
    if not arguments or arguments[0] in ("-h", "--help"):
        return _printed(*_help(), code=0 if arguments else EXIT_USAGE)
    if arguments[0] in MOVED:
        complain(
            f"error: {arguments[0]} is not part of the package any more; in a clone of the source "
            f"code, {MOVED[arguments[0]]} does the same"
        )
        return EXIT_USAGE
    if arguments[0] not in COMMANDS:
        complain(f"error: {unknown_name('command', arguments[0], COMMANDS)}")
        return EXIT_USAGE
    return run(COMMANDS[arguments[0]].load(), arguments[1:])


def _printed(*lines: str, code: int = 0) -> int:
    console = new_console()
    for line in lines:
        say(console, line)
    return exit_code(code, printed=True)


def _help() -> list[str]:
    width = max(map(len, COMMANDS)) + 2
    lines = ["usage: mixseg COMMAND ...", ""]
    for group, entries in GROUPS.items():
        lines += [
            f"{group}:",
            *(f"  {name:{width}}{one.help}" for name, one in entries.items()),
            "",
        ]
    return [*lines, "mixseg COMMAND --help says more."]
