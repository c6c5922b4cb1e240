"""Forks commands from one interpreter that has imported everything they need.

Importing torch takes seconds, and these tests run dozens of commands. Each is a process of its
own, with its own session, signals, exit code and output; only the imports are shared. Requests and
answers are JSON lines on stdin and stdout.
"""

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import sys
import traceback

# What the commands import, also inside functions.
import matplotlib.figure
import scipy.io  # noqa: F401
import torch.utils.data  # noqa: F401

import mixseg
from mixseg.config.schema import schema
from tests import hardware

for module in pkgutil.walk_packages(mixseg.__path__, "mixseg."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)


def next_command() -> list[str]:
    """Answer requests; in a forked child return the command that it is to run."""
    for line in sys.stdin:
        request = json.loads(line)
        if "poll" in request:
            done, status = os.waitpid(request["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if done else None
        else:
            answer = os.fork()
            if answer == 0:
                become(request)
                return request["command"]
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    os._exit(0)


def become(request: dict) -> None:
    """Turn a forked child into what a shell would have started."""
    os.setsid()
    # Ignored where a shell has started the tests in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    hardware.auto_becomes(hardware.asked_for())
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    for name, flag, number in (
        (os.devnull, os.O_RDONLY, 0),
        (request["stdout"], flags, 1),
        (request["stderr"], flags, 2),
    ):
        handle = os.open(name, flag, 0o644)
        os.dup2(handle, number)
        os.close(handle)


def run(command: list[str]) -> int:
    """Run a script as the interpreter would; returns the exit code."""
    sys.argv = command
    sys.path[0] = os.path.dirname(command[0])  # noqa: PTH120
    try:
        runpy.run_path(command[0], run_name="__main__")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    schema()  # reads the settings' documentation once
    # Loads the fonts of the charts that runs end with.
    matplotlib.figure.Figure().add_subplot(title="$1$").figure.savefig(os.devnull, format="png")
    gc.freeze()
    code = run(next_command())
    # Taking a forked interpreter apart would copy all the memory that it shares, for a second.
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
