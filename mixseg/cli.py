"""The commands. ``mixseg NAME`` and ``python tools/...`` run the same functions."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import final

from mixseg import __version__
from mixseg.errors import ConfigError, MixsegError, unknown_name
from mixseg.terminal import complain, exit_code, guard, new_console, say

EXIT_USAGE = 2
"""Exit code for what makes no sense; commands return 1 for what is not as it should be."""

Function = Callable[[Sequence[str]], int]
"""From the arguments after a command's name to an exit code.

Errors for people leave it as :class:`mixseg.errors.MixsegError`.
"""


@final
@dataclass(frozen=True)
class Command:
    """A command, which is imported when it is typed.

    Attributes:
        module: In ``mixseg.commands``.
        help: A line for ``mixseg --help``.
        function: In the module; by default the one of its name.
        first: Arguments of the function that come before what was typed.
        prints: Whether its result is what it prints, so that it has failed if that does not arrive;
            the result of the others is in files.
        several: Whether it divides its work among the processes of torchrun.
    """

    module: str
    help: str
    function: str = ""
    first: tuple[str, ...] = ()
    prints: bool = False
    several: bool = False

    def load(self) -> Function:
        """Import its function."""
        module = importlib.import_module(f"mixseg.commands.{self.module}")
        return partial(getattr(module, self.function or self.module), *self.first)

    def run(self, arguments: Sequence[str]) -> int:
        """Run it; see :func:`run`."""
        return run(self.load(), arguments, prints=self.prints, several=self.several)


GROUPS: dict[str, dict[str, Command]] = {
    "train": {
        name: Command("training", help, function="train", first=(name,), several=True)
        for name, help in (
            ("ssl", "few labeled and many unlabeled images"),
            ("uda", "labeled renderings and unlabeled photographs"),
            ("supervised", "labeled images alone"),
            ("distill", "a small network from a trained one"),
        )
    }
    | {
        "self-train": Command(
            "self_train", "on labels and on pseudo-labels, in rounds", several=True
        ),
    },
    "use what was trained": {
        "evaluate": Command("evaluate", "scores on a split", prints=True, several=True),
        "predict": Command("predict", "label maps and pictures of image files", several=True),
        "select": Command("select", "unlabeled images that are worth a label"),
        "export": Command("export", "a network as a file for programs without mixseg"),
    },
    "look before training": {
        "doctor": Command("doctor", "this machine, and what a run will need of it", prints=True),
        "check-data": Command("check_data", "damaged, missing and wrong files", prints=True),
        "dataset-stats": Command("dataset_stats", "classes and sizes of a data set", prints=True),
        "prepare-data": Command("prepare_data", "a smaller copy that loads faster"),
        "make-demo": Command("make_demo", "built-in scenes as files"),
        "find-lr": Command("find_lr", "a learning rate: loss against a growing rate", prints=True),
        "profile": Command("profile_model", "what a network and its step cost", prints=True),
    },
    "compare": {
        "ablate": Command("ablate", "the rows of a table, each with several seeds"),
        "compare": Command("compare", "settings and results of several runs", prints=True),
        "figures": Command("figures", "the papers' figures, of data sets and runs"),
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


def run(
    command: Function,
    arguments: Sequence[str] | None = None,
    *,
    prints: bool = False,
    several: bool = False,
) -> int:
    """Run a command; errors that are meant for people are printed without a traceback.

    Args:
        command: Its function.
        arguments: What was typed after its name; by default after the name of the program.
        prints: As for :class:`Command`.
        several: As for :class:`Command`.
    """
    guard()
    try:
        # As torch.distributed.is_torchelastic_launched(), without importing torch.
        if "TORCHELASTIC_RUN_ID" in os.environ and not several:
            raise ConfigError("this command runs in one process: start it without torchrun")
        code = command(sys.argv[1:] if arguments is None else arguments)
    except SystemExit as stop:  # argparse has printed the help
        prints = True
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except MixsegError as error:
        code = EXIT_USAGE if isinstance(error, ConfigError) else 1
        # The processes have parted by now, but torchrun has told each its number.
        rank = os.environ.get("RANK", "0")
        if rank == "0" or not error.everywhere:
            where = "" if rank == "0" else f"process {rank}: "
            complain(f"error: {where}{error}")
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        complain(f"error: {where}{error.strerror or error}")
        code = 1
    except KeyboardInterrupt:
        code = 130
    return exit_code(code, printed=prints)


def main(arguments: Sequence[str] | None = None) -> int:
    """``mixseg COMMAND ...``; by default with the arguments of this process."""
    guard()
    name, *rest = [*(sys.argv[1:] if arguments is None else arguments)] or [""]
    if name == "--version":
        return _printed(__version__)
    if name in ("", "-h", "--help"):
        return _printed(*_help(), code=0 if name else EXIT_USAGE)
    if name in COMMANDS:
        return COMMANDS[name].run(rest)
    if name in MOVED:
        complain(
            f"error: {name} is not part of the package any more; in a clone of the source code, "
            f"{MOVED[name]} does the same"
        )
    else:
        complain(f"error: {unknown_name('command', name, COMMANDS)}")
    return EXIT_USAGE


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
