"""What this machine has, and what a configured run will need."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mixseg.commands.parsing import add_file_arguments, any_settings, new_parser, parse
from mixseg.errors import ConfigError, DataError
from mixseg.terminal import new_console, say

if TYPE_CHECKING:
    from mixseg.analysis.doctor import Finding

ABOUT = (
    "Versions, devices, precision, memory, disk and loader processes of this machine, and whether "
    "the data that the settings name can be opened; with --config also the memory and the disk "
    "that the configured run will need, from real steps on noise. Takes the settings of a training "
    "command. The exit code is 1 if a run would fail."
)


def doctor(arguments: Sequence[str]) -> int:
    """``mixseg doctor``."""
    parser = new_parser("mixseg doctor", ABOUT)
    add_file_arguments(parser)
    parsed = parse(parser, arguments, settings=True)
    settings = any_settings(parsed)

    from mixseg.analysis.costs import checkpoints_at_once, estimate_needs
    from mixseg.analysis.doctor import Finding, compare_needs, examine
    from mixseg.analysis.noise import NoiseRun
    from mixseg.training.checks import check_settings
    from mixseg.training.data import RunData, open_training_data
    from mixseg.training.streams import loader_workers

    console = new_console()
    device, output = settings.training.device, Path(settings.output).expanduser()

    def findings() -> Iterator[Finding]:
        yield from examine(device, output, loader_workers(settings.data.workers))
        data, source = settings.data, settings.source_domain
        # Built-in scenes can always be opened.
        if data.dataset != "demo" or (data.root, source.root) != (None, None):
            RunData(settings).check()
            try:
                found = open_training_data(settings)
            except DataError as error:
                yield Finding("data", str(error), wrong=True)
                return
            yield Finding(
                "data",
                f"{len(found.split.labeled)} labeled, {len(found.unlabeled_indices)} unlabeled "
                f"and {len(found.val)} validation images",
            )
        if not parsed.config:
            return
        say(console, "taking training steps on noise, this may take minutes")
        check_settings(settings)
        try:
            run = NoiseRun.of(settings, None)
        except ConfigError:  # only the data tell
            run = NoiseRun.of(settings, open_training_data(settings))
        kept = settings.checkpoints
        count = checkpoints_at_once(
            settings.training.iterations, kept.every, kept.keep, kept.keep_every
        )
        # A better network is written beside those that the kept checkpoints would go back to.
        yield from compare_needs(estimate_needs(run), device, output, count, kept.keep + 1)

    wrong = False
    for finding in findings():
        wrong |= finding.wrong
        say(console, f"{finding.name + ':':16} {finding.text}", "red" if finding.wrong else None)
    return 1 if wrong else 0
