"""Which precision a run takes when the settings leave it open."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from torch import nn

from mixseg.config import Settings
from mixseg.distributed import by_first, of_first, share_of
from mixseg.engine.precision import Precision, choose_precision, has_bf16
from mixseg.engine.step_times import Name, step_times
from mixseg.errors import CheckpointError
from mixseg.files import write_atomically

Choose = Callable[[nn.Module, torch.device], Precision]
"""(network on its device, device) -> what it is trained in."""

NAMES: tuple[Name, ...] = ("fp32", "bf16")
"""What a CPU can do."""


def precision_of_run(
    settings: Settings,
    size: tuple[int, int],
    console: Console,
    recorded: Path | None = None,
    *,
    measure: bool = True,
) -> Choose:
    """How a run comes to its precision.

    With ``auto`` on a CPU, that in which the network is faster on labelled batches of random
    images; a run keeps it for good. Of several processes the first one's is taken. Everything else
    is as in :func:`choose_precision`.

    Args:
        settings: Of one stage of the run.
        size: Height and width of labelled images.
        console: Where people read.
        recorded: File of the run that tells the choice, or gets it if it is not there; None keeps
            nothing.
        measure: False: where nothing is recorded, choose by the hardware, as a run of an earlier
            version did.
    """
    asked = settings.training.precision
    shape = (share_of(settings.data.batch_labeled), 3, *size)

    def decide(model: nn.Module, device: torch.device) -> Name:
        if recorded is not None and recorded.is_file():
            return read_precision(recorded)
        seconds: dict[str, float] = {}
        if not measure:
            name: Name = (
                "bf16" if choose_precision("auto", device, model).name == "bf16" else "fp32"
            )
        elif not has_bf16():
            name = "fp32"
            console.print("precision fp32: this CPU has no bf16 arithmetic", highlight=False)
        else:
            seconds = step_times(model, shape, NAMES)
            name = min(NAMES, key=seconds.__getitem__)
            found = ", ".join(f"{one} {1000 * value:.0f} ms" for one, value in seconds.items())
            console.print(
                f"precision {name}: faster here, forward and backward pass: {found}",
                highlight=False,
            )
        if recorded is not None:
            write_atomically(recorded, json.dumps({"precision": name, "seconds": seconds}))
        return name

    def choose(model: nn.Module, device: torch.device) -> Precision:
        if asked != "auto" or device.type != "cpu":
            return choose_precision(asked, device, model)
        name = of_first(by_first(lambda: decide(model, device)) or "")
        return Precision("bf16" if name == "bf16" else "fp32", device)

    return choose


def read_precision(path: Path) -> Name:
    """The choice that a run has recorded.

    Raises:
        CheckpointError: The file is damaged.
    """
    try:
        name = json.loads(path.read_text())["precision"]
        return NAMES[NAMES.index(name)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path}: damaged; it tells in which precision ({' or '.join(NAMES)}) the run is. To "
            'go on in one of them, write {"precision": "fp32"} into it'
        ) from error
