"""What is said when a training run has ended: scores, files, and commands to try next."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from rich.console import Console

from mixseg.analysis.distillation import compare_with_teacher
from mixseg.config.effect import command_of, is_baseline, takes_part
from mixseg.errors import MixsegError
from mixseg.evaluation.protocols import paper_table, protocol, scores_table
from mixseg.files import read_text, write_atomically
from mixseg.terminal import say, show
from mixseg.training.loop import Outcome


def report(outcome: Outcome, path: Path, console: Console) -> None:
    """Say how a run ended and what to do next; ``table.md`` is written where there is a source."""
    settings = outcome.settings
    source, method = settings.source_domain.dataset, settings.method
    if not outcome.scores:
        on_source_alone = is_baseline(method) and source is not None
        command = "uda" if on_source_alone else command_of(method)
        say(
            console,
            f"stopped at step {outcome.step}{', saved' if outcome.step else ''}. Go on with: "
            f"mixseg {command} --resume {shlex.quote(str(path))}",
        )
        return
    columns = {f"{name}, last step": one for name, one in outcome.scores.items()}
    if source is not None:
        columns |= {f"{name}, best (chosen on val)": one for name, (_, one) in outcome.best.items()}
        write_atomically(path / "table.md", paper_table(columns, source))
    first = next(iter(columns.values()))
    show(console, scores_table(columns, means=protocol(source, first.classes)))
    taught = takes_part(method, "trained_teacher")
    if taught:
        try:
            show(console, compare_with_teacher(outcome, path))
        except MixsegError as error:  # the run is whole without it
            say(console, f"not compared with its teacher: {error}", "red")
    best = ", ".join(
        f"{name} {100 * one.miou:.2f} at step {step}"
        + (f" ({coverage})" if (coverage := one.coverage()) else "")
        for name, (step, one) in outcome.best.items()
    )
    speed = f"{outcome.seconds_per_step * 1000:.0f} ms per step in "
    say(console, f"best validation (chosen on this very split): {best}")
    say(
        console,
        f"run: {path}  ({speed if outcome.seconds_per_step else ''}{outcome.precision}, "
        f"peak memory {outcome.peak_memory / 2**30:.2f} GiB)",
    )
    if taught:
        say(console, f"teacher and student side by side: {path / 'comparison.png'}")
    shown = shlex.quote(str(path))
    commands = [
        f"{_tool('evaluate')} {shown} --flip",
        f"{_tool('predict')} {shown} IMAGE_OR_FOLDER --output predictions",
    ]
    if not taught:
        on_demo = settings.data.root is None
        mixer = "classmix" if settings.mixing.mixer == "cutmix" else "cutmix"
        commands += (
            _runs_on_demo(source, is_baseline(method), mixer)
            if on_demo
            else _runs_alike(path, settings.output, source, is_baseline(method), mixer)
        )
    say(console, "next:")
    for command in commands:
        say(console, f"  {command}")


def _runs_on_demo(source: str | None, baseline: bool, another_mixer: str) -> list[str]:
    """What to try after built-in scenes."""
    if source is None:
        return [
            f"{_tool('ssl')} --labeled 1/8 --mixer {another_mixer}",
            f"{_tool('ssl')} --dataset cityscapes --data-root DIR",
        ]
    alone = "" if baseline else " --source-only"
    return [
        f"{_tool('uda')} --source {source}{alone}",
        f"{_tool('uda')} --source gta5 --source-root DIR --dataset cityscapes --data-root DIR",
    ]


def _runs_alike(
    path: Path, output: str, source: str | None, baseline: bool, another_mixer: str
) -> list[str]:
    """The same run but for one aspect, on the same data."""
    alike = f"--config {shlex.quote(str(path / 'config.yaml'))}"
    if path.parent != Path(output).expanduser():  # it was moved, or is seen from elsewhere
        alike += f" --output {shlex.quote(str(path.parent))}"
    tool = _tool("ssl" if source is None else "uda")
    if baseline:
        none_left = not read_text(path / "unlabeled.txt").strip()
        more = " --unlabeled PHOTOS" if none_left else ""
        return [f"{tool} {alike} --name {shlex.quote(f'{path.name}-mixed')}{more}"]
    name = f"{path.name}-{another_mixer}"
    return [
        f"{tool} {alike} --mixer {another_mixer} --name {shlex.quote(name)}",
        f"{_tool('compare')} {shlex.quote(str(path))} {shlex.quote(str(path.parent / name))}",
    ]


def _tool(command: str) -> str:
    """A command as it was started here: by a script of the checkout, or as installed."""
    script = Path(sys.argv[0])
    if script.parent.name != "tools" or script.suffix != ".py":
        return f"mixseg {command}"
    names = {"ssl": "train_ssl", "uda": "train_uda"}
    return f"python {shlex.quote(str(script.with_name(names.get(command, command) + '.py')))}"
