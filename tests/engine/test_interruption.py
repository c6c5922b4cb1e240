"""Real signals to real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from mixseg.engine.interruption import Interruption

LOOP = textwrap.dedent(
    """
    import sys, time
    from mixseg.engine.interruption import Interruption
    with Interruption() as interruption:
        print("ready", flush=True)
        while interruption.signal is None:
            time.sleep(0.002)
        print("asked", flush=True)
        if sys.argv[1] == "stuck":
            time.sleep(60)
        print("saved", flush=True)
    sys.exit(interruption.exit_code)
    """
)
CODES = {"SIGINT": 130, "SIGTERM": 143, "SIGUSR1": 143, "SIGUSR2": 143}


def start(how: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", LOOP, how], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("name", sorted(CODES))
def test_the_first_signal_lets_the_step_end(name: str) -> None:
    process = start("patient")
    process.send_signal(getattr(signal, name))
    output, _ = process.communicate(timeout=30)
    assert output == "asked\nsaved\n"
    assert process.returncode == CODES[name]


def test_the_second_signal_ends_the_process_at_once() -> None:
    process = start("stuck")
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None
    assert process.stdout.readline() == "asked\n"
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert output == ""
    assert process.returncode in (130, 143)


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
