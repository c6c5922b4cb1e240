"""What is said when a training run has ended: scores, files, and commands to try next."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from mixseg.analysis.distillation import Judged, report_distillation
from mixseg.config.effect import command_of, is_baseline, takes_part
from mixseg.errors import MixsegError
from mixseg.evaluation.protocols import paper_table, protocol, scores_table
from mixseg.evaluation.scores import Scores
from mixseg.files import read_text, write_atomically
from mixseg.models import build_initial_model, model_title
from mixseg.terminal import say, show
from mixseg.training.build import evaluate_on
from mixseg.training.data import RunData
from mixseg.training.loop import Outcome
from mixseg.training.precision import choose_device, precision_to_apply
from mixseg.training.saved_network import load_networks
from mixseg.training.teachers import kept_teacher


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
    show(console, scores_table(columns, means=protocol(source, first.classes)))
    if takes_part(method, "trained_teacher"):
        try:
            show(console, _beside_its_teacher(outcome, path))
        except MixsegError as error:  # the run is whole without it
            say(console, f"not compared with its teacher: {error}", "red")
    for line in (*_what_came_out(outcome, path), *_next_steps(outcome, path)):
        say(console, line)


def _say_how_to_go_on(outcome: Outcome, path: Path, console: Console) -> None:
    """For a run that was stopped: its scores are those of no ended training."""
    method = outcome.settings.method
    on_source_alone = is_baseline(method) and outcome.settings.source_domain.dataset is not None
    command = "uda" if on_source_alone else command_of(method)
    say(
        console,
        f"stopped at step {outcome.step}{', saved' if outcome.step else ''}. Go on with: "
        f"mixseg {command} --resume {shlex.quote(str(path))}",
    )


def _beside_its_teacher(outcome: Outcome, path: Path) -> Table:
    """The table of a distilled network and its teacher; its files are written into the run."""
    settings = outcome.settings
    val = RunData(settings).validation()
    teacher = kept_teacher(path, val.classes)
    saved = load_networks(path, "both").networks
    before, _ = build_initial_model(
        settings.model, settings.options, len(val.classes), settings.seed
    )
    device = choose_device(settings.training.device)
    for network in (teacher, before, *saved.values()):
        network.to(device).to(memory_format=torch.channels_last).eval()
    precision = precision_to_apply(path, settings.training.precision, device, saved["student"])
    taught = evaluate_on(teacher, val, settings.data, settings.validation, precision)
    # The average costs what the student costs, so that one line is enough.
    best = max(outcome.scores, key=lambda name: outcome.scores[name].miou or 0.0)
    scores = outcome.scores[best]
    judged = {
        "teacher": Judged(model_title(teacher.network.spec), teacher, taught.miou),
        best: Judged(model_title(settings.model), saved[best], scores.miou),
    }
    return report_distillation(
        path, val, judged, before, precision, settings.data.resize, scores.coverage()
    )


def _columns(outcome: Outcome) -> dict[str, Scores]:
    """Title -> scores, as the table shows them."""
    columns = {f"{name}, last step": one for name, one in outcome.scores.items()}
    if outcome.settings.source_domain.dataset is not None:
        columns |= {f"{name}, best (chosen on val)": one for name, (_, one) in outcome.best.items()}
    return columns


def _what_came_out(outcome: Outcome, path: Path) -> list[str]:
    best = ", ".join(
        f"{name} {100 * one.miou:.2f} at step {step}"
        + (f" ({coverage})" if (coverage := one.coverage()) else "")
        for name, (step, one) in outcome.best.items()
    )
    speed = f"{outcome.seconds_per_step * 1000:.0f} ms per step in "
    lines = [
        f"best validation (chosen on this very split): {best}",
        f"run: {path}  ({speed if outcome.seconds_per_step else ''}{outcome.precision}, "
        f"peak memory {outcome.peak_memory / 2**30:.2f} GiB)",
    ]
    if takes_part(outcome.settings.method, "trained_teacher"):
        lines.append(f"teacher and student side by side: {path / 'comparison.png'}")
    return lines


def _next_steps(outcome: Outcome, path: Path) -> list[str]:
    """Commands to try next: the run's own ones, then further runs."""
    shown = shlex.quote(str(path))
    lines = [
        "next:",
        f"  {_tool('evaluate')} {shown} --flip",
        f"  {_tool('predict')} {shown} IMAGE_OR_FOLDER --output predictions",
    ]
    if takes_part(outcome.settings.method, "trained_teacher"):
        return lines
    settings = outcome.settings
    on_demo, source = settings.data.root is None, settings.source_domain.dataset
    baseline = is_baseline(settings.method)
    mixer = "classmix" if settings.mixing.mixer == "cutmix" else "cutmix"
    if on_demo:
        further = _runs_on_demo(source, mixer, baseline=baseline)
    else:
        moved = path.parent != Path(settings.output).expanduser()
        further = _runs_alike(source, mixer, path, baseline=baseline, moved=moved)
    return lines + [f"  {run}" for run in further]


def _runs_on_demo(source: str | None, mixer: str, *, baseline: bool) -> list[str]:
    """What to try after built-in scenes; ``mixer`` is another than the run's."""
    if source is None:
        return [
            f"{_tool('ssl')} --labeled 1/8 --mixer {mixer}",
            f"{_tool('ssl')} --dataset cityscapes --data-root DIR",
        ]
    alone = "" if baseline else " --source-only"
    return [
        f"{_tool('uda')} --source {source}{alone}",
        f"{_tool('uda')} --source gta5 --source-root DIR --dataset cityscapes --data-root DIR",
    ]


def _runs_alike(
    source: str | None, mixer: str, path: Path, *, baseline: bool, moved: bool
) -> list[str]:
    """The same run but for one aspect, on the same data; ``moved`` if it is not in its output."""
    alike = f"--config {shlex.quote(str(path / 'config.yaml'))}"
    if moved:  # or seen from elsewhere
        alike += f" --output {shlex.quote(str(path.parent))}"
    tool = _tool("ssl" if source is None else "uda")
    if baseline:
        none_left = not read_text(path / "unlabeled.txt").strip()
        more = " --unlabeled PHOTOS" if none_left else ""
        return [f"{tool} {alike} --name {shlex.quote(f'{path.name}-mixed')}{more}"]
    name = f"{path.name}-{mixer}"
    return [
        f"{tool} {alike} --mixer {mixer} --name {shlex.quote(name)}",
        f"{_tool('compare')} {shlex.quote(str(path))} {shlex.quote(str(path.parent / name))}",
    ]


def _tool(command: str) -> str:
    """A command as it was started here: by a script of the checkout, or as installed."""
    script = Path(sys.argv[0])
    if script.parent.name != "tools" or script.suffix != ".py":
        return f"mixseg {command}"
    names = {"ssl": "train_ssl", "uda": "train_uda"}
    return f"python {shlex.quote(str(script.with_name(names.get(command, command) + '.py')))}"
