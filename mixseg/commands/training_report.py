"""What a training command says when its run has ended."""

from __future__ import annotations

import shlex
from pathlib import Path

from rich.console import Console

from mixseg.ablation.runs import TRAINING_COMMANDS
from mixseg.commands.console import say
from mixseg.distillation.report import report_distillation
from mixseg.engine.trainer import Outcome
from mixseg.errors import MixsegError
from mixseg.evaluation.confusion import Scores
from mixseg.evaluation.protocols import paper_table, protocol
from mixseg.evaluation.tables import scores_table
from mixseg.files import write_atomically


def report(outcome: Outcome, path: Path, console: Console) -> None:
    """Say how a run ended and what to do next; ``table.md`` is written where there is a source."""
    source, method = outcome.settings.source_domain.dataset, outcome.settings.method
    if not outcome.scores:
        _say_how_to_go_on(outcome, path, console)
        return
    columns = _columns(outcome)
    if source is not None:
        write_atomically(path / "table.md", paper_table(columns, source))
    first = next(iter(columns.values()))
    console.print(scores_table(columns, means=protocol(source, first.classes)))
    if method == "distillation":
        try:
            console.print(report_distillation(outcome.settings, outcome.scores, path, console))
        except MixsegError as error:  # the run is whole without it
            console.print(f"not compared with its teacher: {error}", style="red", markup=False)
    for line in (*_what_came_out(outcome, path), *_next_steps(outcome, path)):
        say(console, line)


def _say_how_to_go_on(outcome: Outcome, path: Path, console: Console) -> None:
    """For a run that was stopped: its scores are those of no ended training."""
    method = outcome.settings.method
    on_source_alone = method == "supervised" and outcome.settings.source_domain.dataset is not None
    command = "uda" if on_source_alone else TRAINING_COMMANDS[method]
    console.print(
        f"stopped at step {outcome.step}, saved. Go on with: "
        f"mixseg {command} --resume {shlex.quote(str(path))}",
        markup=False,
        soft_wrap=True,
    )


def _columns(outcome: Outcome) -> dict[str, Scores]:
    """Title -> scores, as the table shows them."""
    distilled = outcome.settings.method == "distillation"
    called = {"teacher": "student, averaged"} if distilled else {}
    columns = {f"{called.get(name, name)}, last step": one for name, one in outcome.scores.items()}
    if outcome.settings.source_domain.dataset is not None:
        columns |= {f"{name}, best (chosen on val)": one for name, (_, one) in outcome.best.items()}
    return columns


def _what_came_out(outcome: Outcome, path: Path) -> list[str]:
    best = ", ".join(
        f"{name} {100 * one.miou:.2f} at step {step}" for name, (step, one) in outcome.best.items()
    )
    lines = [
        f"best validation (chosen on this very split): {best}",
        f"run: {path}  ({outcome.seconds_per_step * 1000:.0f} ms per step, "
        f"peak memory {outcome.peak_memory / 2**30:.2f} GiB)",
    ]
    if outcome.settings.method == "distillation":
        lines.append(f"teacher and student side by side: {path / 'comparison.png'}")
    return lines


def _next_steps(outcome: Outcome, path: Path) -> list[str]:
    """Commands to try next: the run's own ones, then further runs."""
    source, method = outcome.settings.source_domain.dataset, outcome.settings.method
    shown = shlex.quote(str(path))
    lines = [
        "next:",
        f"  python tools/evaluate.py {shown} --flip",
        f"  python tools/predict.py {shown} IMAGE_OR_FOLDER --output predictions",
    ]
    if method == "distillation":
        return lines
    if source is None:
        run = "python tools/train_ssl.py"
        return [
            *lines,
            f"  {run} --labeled 1/8 --mixer cutmix",
            f"  {run} --config configs/ssl/cityscapes.yaml --data-root DIR",
        ]
    run = "python tools/train_uda.py"
    return [
        *lines,
        f"  {run} --source {source} --source-only",
        f"  {run} --config configs/uda/gta5_cityscapes.yaml --source-root DIR --data-root DIR",
    ]
