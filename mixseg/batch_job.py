"""What a job of a cluster runs first: a command takes the place of its process.

Imports nothing that takes time: the command imports it all again.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from typing import NoReturn


def heading(task: str) -> str:
    """How the line begins that a job writes into the log of its command."""
    return f"--- job {task} "


def become(log: str, command: Sequence[str]) -> NoReturn:
    """Replace this process by a command.

    Signals then reach the command itself, and once: who forwards them does so for nothing on some
    clusters and twice on others. Its exit code is the job's.

    Args:
        log: File that gets a heading and then what the command prints, after what is in it.
        command: Program with its arguments.
    """
    import submitit

    line = f"on {socket.gethostname()}, {time.strftime('%Y-%m-%d %H:%M:%S')} ---"
    task = submitit.JobEnvironment().job_id
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.write(handle, f"{heading(task)}{line}\n".encode())
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)
    os.execv(command[0], list(command))
