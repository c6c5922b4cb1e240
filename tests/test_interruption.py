"""Real signals to real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from mixseg.errors import InterruptionError
from mixseg.interruption import AGAIN, Interruption, stop_if_asked

LOOP = textwrap.dedent(
    """
    import sys, time
    from mixseg.interruption import Interruption
    with Interruption() as interruption:
        print("ready", flush=True)
        while interruption.signal is None:
            time.sleep(0.002)
        print("asked", flush=True)
        time.sleep({"stuck": 60, "slow": 0.3, "patient": 0}[sys.argv[1]])
        print("saved", flush=True)
    sys.exit(interruption.exit_code)
    """
)
CODES = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 143, "SIGUSR1": 143, "SIGUSR2": 143}


def start(how: str, *before: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [*before, sys.executable, "-c", LOOP, how], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def send(process: subprocess.Popen[str], *names: str) -> None:
    for name in names:
        process.send_signal(getattr(signal, name))
        time.sleep(0.02)  # so that they do not become one on the way


def ended(process: subprocess.Popen[str]) -> tuple[str, int]:
    """What it printed, and its exit code."""
    output, _ = process.communicate(timeout=300)
    return output, process.returncode


def test_signals_from_several_senders_are_one_and_let_the_step_end() -> None:
    processes = {name: start("slow") for name in CODES}
    for name, process in processes.items():
        send(process, name, name, name)
        assert ended(process) == ("asked\nsaved\n", CODES[name])
    process = start("slow")
    send(process, "SIGUSR1", "SIGTERM", "SIGHUP", "SIGINT")
    assert ended(process) == ("asked\nsaved\n", CODES["SIGUSR1"]), "the first one counts"


def test_somebody_who_asks_again_ends_the_process_at_once() -> None:
    process = start("stuck")
    send(process, "SIGINT")
    assert process.stdout is not None
    assert process.stdout.readline() == "asked\n"
    time.sleep(AGAIN[signal.SIGINT] + 0.2)
    send(process, "SIGINT")
    assert ended(process) == ("", 130)


def test_a_closed_terminal_does_not_stop_what_nohup_started() -> None:
    process = start("patient", "nohup")
    send(process, "SIGHUP")
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.3)
    send(process, "SIGTERM")
    assert ended(process) == ("asked\nsaved\n", CODES["SIGTERM"])


def test_what_can_be_done_again_stops_while_a_run_is_asked_to() -> None:
    stop_if_asked()
    with Interruption() as interruption:
        stop_if_asked()
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(InterruptionError):
            stop_if_asked()
        assert interruption.exit_code == 143
    stop_if_asked()


def test_handlers_are_given_back() -> None:
    def own(number: int, frame: object) -> None:
        seen.append(number)

    seen: list[int] = []
    before = signal.signal(signal.SIGUSR1, own)
    try:
        with Interruption() as interruption:
            os.kill(os.getpid(), signal.SIGUSR1)
            assert interruption.signal == signal.SIGUSR1
        assert seen == []
        assert signal.getsignal(signal.SIGUSR1) is own
    finally:
        signal.signal(signal.SIGUSR1, before)
