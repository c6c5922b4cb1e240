"""What this machine has, and what a configured run will need."""

from __future__ import annotations

from collections.abc import Sequence

from mixseg.commands.parsing import Parser, any_settings
from mixseg.terminal import new_console, say

ABOUT = (
    "Versions, devices, precision, memory, disk and loader processes of this machine, and whether "
    "the data that the settings name can be opened; with --config also the memory and the disk "
    "that the configured run will need, from real steps on noise. Takes the settings of a training "
    "command. The exit code is 1 if a run would fail."
)


def doctor(arguments: Sequence[str]) -> int:
    """``mixseg doctor``."""
    parser = Parser("mixseg doctor", ABOUT, settings=True)
    parsed = parser.read(arguments)
    settings = any_settings(parsed)

    from mixseg.analysis.doctor import examine_run

    console, wrong = new_console(), False
    for finding in examine_run(settings, measured=bool(parsed.config)):
        wrong |= finding.wrong
        say(console, f"{finding.name + ':':16} {finding.text}", "red" if finding.wrong else None)
    return 1 if wrong else 0
