"""Distillation between classifiers: the first experiment of Karlı."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser
from rich.table import Table

from mixseg.classification.experiment import ClassificationSettings, run_experiment
from mixseg.commands.contract import prints_its_result
from mixseg.commands.parsing import new_parser, parse
from mixseg.commands.presets import presets_folder
from mixseg.config.UNKNOWN import resolve_section
from mixseg.config.options import Setting, fields_of
from mixseg.config.values import FlagType
from mixseg.terminal import new_console, say, show


@prints_its_result
def distill_cifar10(arguments: Sequence[str]) -> int:
    """Distillation between classifiers; see ``--help``."""
    leaves = fields_of(ClassificationSettings)
    parsed = parse(_classification_parser(leaves), arguments)
    console = new_console()
    overrides = {
        leaf.path: parsed[leaf.path]
        for leaf in leaves
        if parsed[leaf.path] is not None and parsed[leaf.path] is not False
    }
    preset = presets_folder() / "distill" / "cifar10.yaml"
    file = preset if parsed.config is None else Path(parsed.config)
    settings = resolve_section(ClassificationSettings, file, overrides)

    def say_epoch(name: str, done: int, total: int, share: float) -> None:
        say(console, f"{name}, epoch {done}/{total}: accuracy {100 * share:.2f} %")

    table = Table(title="shapes" if settings.demo else "CIFAR-10")
    table.add_column("network")
    for column in ("parameters (M)", "accuracy"):
        table.add_column(column, justify="right")
    for one in run_experiment(settings, say_epoch):
        table.add_row(one.network, f"{one.parameters / 1e6:.3f}", f"{100 * one.accuracy:.2f}")
    show(console, table)
    return 0


def _classification_parser(leaves: Sequence[Setting]) -> ArgumentParser:
    parser = new_parser(
        "mixseg distill-cifar10",
        "Train ResNet-18, a 5-layer CNN, and the same CNN distilled from ResNet-18, and compare "
        "their accuracy: the first experiment of the report on shallow networks.",
    )
    parser.add_argument("--config", type=str, metavar="FILE", help="[configs/distill/cifar10.yaml]")
    for leaf in leaves:
        flag = f"--{leaf.path.replace('_', '-')}"
        about = f"{leaf.help} [{leaf.default}]"
        if leaf.hint is bool:
            parser.add_argument(flag, dest=leaf.path, action="store_true", help=about)
        else:
            parser.add_argument(
                flag, dest=leaf.path, type=FlagType(flag, leaf.hint, leaf.allowed), help=about
            )
    return parser
