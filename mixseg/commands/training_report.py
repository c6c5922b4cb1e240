"""What a training command says when its run has ended."""

from __future__ import annotations

import shlex
from pathlib import Path

from rich.console import Console

from mixseg.ablation.runs import TRAINING_COMMANDS
from mixseg.distillation.report import report_distillation
from mixseg.engine.trainer import Outcome
from mixseg.errors import MixsegError
from mixseg.evaluation.protocols import paper_table, protocol
from mixseg.evaluation.tables import scores_table
from mixseg.files import write_atomically


def report(outcome: Outcome, path: Path, console: Console) -> int:
    """Say how a run ended and what to do next."""
    shown = shlex.quote(str(path))
    source, method = outcome.settings.source_domain.dataset, outcome.settings.method
    run = f"python tools/{'train_ssl' if source is None else 'train_uda'}.py"
    if not outcome.scores:
        on_source_alone = method == "supervised" and source is not None
        command = "uda" if on_source_alone else TRAINING_COMMANDS[method]
        console.print(
            f"stopped at step {outcome.step}, saved. Go on with: mixseg {command} --resume {shown}",
            markup=False,
            soft_wrap=True,
        )
        return outcome.exit_code
    called = {"teacher": "student, averaged"} if method == "distillation" else {}
    columns = {f"{called.get(name, name)}, last step": one for name, one in outcome.scores.items()}
    if source is not None:
        columns |= {f"{name}, best (chosen on val)": one for name, (_, one) in outcome.best.items()}
        write_atomically(path / "table.md", paper_table(columns, source))
    first = next(iter(columns.values()))
    console.print(scores_table(columns, means=protocol(source, first.classes)))
    if method == "distillation":
        try:
            console.print(report_distillation(outcome.settings, outcome.scores, path, console))
        except MixsegError as error:  # the run is whole without it
            console.print(f"not compared with its teacher: {error}", style="red", markup=False)
    best = ", ".join(
        f"{name} {100 * one.miou:.2f} at step {step}" for name, (step, one) in outcome.best.items()
    )
    lines = [
        f"best validation (chosen on this very split): {best}",
        f"run: {path}  ({outcome.seconds_per_step * 1000:.0f} ms per step, "
        f"peak memory {outcome.peak_memory / 2**30:.2f} GiB)",
        "next:",
        f"  python tools/evaluate.py {shown} --flip",
        f"  python tools/predict.py {shown} IMAGE_OR_FOLDER --output predictions",
    ]
    if method == "distillation":
        lines.insert(2, f"teacher and student side by side: {path / 'comparison.png'}")
    elif source is None:
        lines += [
            f"  {run} --labeled 1/8 --mixer cutmix",
            f"  {run} --config configs/ssl/cityscapes.yaml --data-root DIR",
        ]
    else:
        lines += [
            f"  {run} --source {source} --source-only",
            f"  {run} --config configs/uda/gta5_cityscapes.yaml --source-root DIR --data-root DIR",
        ]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return outcome.exit_code
