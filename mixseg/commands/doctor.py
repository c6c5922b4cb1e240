"""What this machine has, and what a configured run will need."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from mixseg.commands.contract import EXIT_ERROR, prints_its_result
from mixseg.commands.parsing import new_parser
from mixseg.commands.settings_arguments import add_file_arguments, any_settings, parse_with_settings
from mixseg.preflight.doctor import Finding, compare_needs, examine, examine_data
from mixseg.preflight.memory import estimate_needs
from mixseg.terminal import new_console, say
from mixseg.training.streams import loader_workers


@prints_its_result
def doctor(arguments: Sequence[str]) -> int:
    """Look at the machine and at what a run will need; see ``--help``."""
    parser = new_parser(
        "mixseg doctor",
        "Versions, devices, precision, memory, disk and loader processes of this machine, and "
        "whether the data that the settings name can be opened; with --config also the memory and "
        "the disk that the configured run will need, from real steps on noise. Takes the settings "
        "of a training command. The exit code is 1 if a run would fail.",
    )
    add_file_arguments(parser)
    parsed = parse_with_settings(parser, arguments)
    console = new_console()
    settings = any_settings(parsed)
    wrong = False

    for finding in examine(settings, loader_workers(settings.data.workers)):
        wrong |= _shown(finding, console)
    no_data = False
    for finding in examine_data(settings):
        no_data |= _shown(finding, console)
    wrong |= no_data
    if parsed.config and not no_data:
        say(console, "taking training steps on noise, this may take minutes")
        for finding in compare_needs(settings, estimate_needs(settings)):
            wrong |= _shown(finding, console)
    return EXIT_ERROR if wrong else 0


def _shown(finding: Finding, console: Console) -> bool:
    """Print one finding; returns whether it would make a run fail."""
    say(console, f"{finding.name + ':':16} {finding.text}", "red" if finding.wrong else None)
    return finding.wrong
