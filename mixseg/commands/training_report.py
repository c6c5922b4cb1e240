"""What a training command says when its run has ended."""

from __future__ import annotations

import shlex
from pathlib import Path

from rich.console import Console

from mixseg.ablation.runs import TRAINING_COMMANDS
from mixseg.commands.console import say
from mixseg.config import Settings
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
    speed = f"{outcome.seconds_per_step * 1000:.0f} ms per step, "
    lines = [
        f"best validation (chosen on this very split): {best}",
        f"run: {path}  ({speed if outcome.seconds_per_step else ''}"
        f"peak memory {outcome.peak_memory / 2**30:.2f} GiB)",
    ]
    if outcome.settings.method == "distillation":
        lines.append(f"teacher and student side by side: {path / 'comparison.png'}")
    return lines


def _next_steps(outcome: Outcome, path: Path) -> list[str]:
    """Commands to try next: the run's own ones, then further runs."""
    shown = shlex.quote(str(path))
    lines = [
        "next:",
        f"  python tools/evaluate.py {shown} --flip",
        f"  python tools/predict.py {shown} IMAGE_OR_FOLDER --output predictions",
    ]
    if outcome.settings.method == "distillation":
        return lines
    on_demo = outcome.settings.data.root is None
    further = _runs_on_demo(outcome.settings) if on_demo else _runs_alike(outcome.settings, path)
    return lines + [f"  python tools/{run}" for run in further]


def _runs_on_demo(settings: Settings) -> list[str]:
    """What to try after built-in scenes."""
    source = settings.source_domain.dataset
    if source is None:
        return [
            f"train_ssl.py --labeled 1/8 --mixer {_another_mixer(settings)}",
            "train_ssl.py --config configs/ssl/cityscapes.yaml --data-root DIR",
        ]
    return [
        f"train_uda.py --source {source} --source-only",
        "train_uda.py --config configs/uda/gta5_cityscapes.yaml --source-root DIR --data-root DIR",
    ]


def _runs_alike(settings: Settings, path: Path) -> list[str]:
    """The same run but for one aspect, on the same data."""
    alike = f"--config {shlex.quote(str(path / 'config.yaml'))}"
    tool = "train_ssl.py" if settings.source_domain.dataset is None else "train_uda.py"
    if settings.method == "supervised":
        none_left = settings.data.labeled == "full" and settings.data.unlabeled is None
        more = " --unlabeled PHOTOS" if none_left and not settings.two_domains else ""
        return [f"{tool} {alike} --name {path.name}-mixed{more}"]
    mixer = _another_mixer(settings)
    return [
        f"{tool} {alike} --mixer {mixer} --name {path.name}-{mixer}",
        f"compare.py {shlex.quote(str(path))} {shlex.quote(f'{path}-{mixer}')}",
    ]


def _another_mixer(settings: Settings) -> str:
    return "classmix" if settings.mixing.mixer == "cutmix" else "cutmix"
