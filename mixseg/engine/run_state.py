"""What a checkpoint holds of a run: written after a step, read back to go on from there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor

from mixseg.distributed import gathered, world
from mixseg.engine.checkpoint import Checkpoint
from mixseg.engine.learner import Learner
from mixseg.engine.optimizer_state import optimizer_state, restore_optimizer
from mixseg.errors import CheckpointError
from mixseg.evaluation.confusion import Scores


@final
@dataclass
class Position:
    """Where a run is, besides what it has learnt.

    Attributes:
        step: Steps done.
        best: Network -> (step, scores) of its best validation.
        validated: Step of the last validation.
        metrics_offset: Bytes of ``metrics.jsonl`` up to here.
    """

    step: int = 0
    best: dict[str, tuple[int, Scores]] = field(default_factory=dict)
    validated: int = 0
    metrics_offset: int = 0


def random_states(device: torch.device) -> dict[str, Tensor]:
    """States of torch's own generators, one row for each process; all call this."""
    states = {"cpu": gathered(torch.get_rng_state()[None])}
    if device.type == "cuda":
        states["cuda"] = gathered(torch.cuda.get_rng_state(device)[None])
    return states


def saved_state(
    learner: Learner, position: Position, random: dict[str, Tensor]
) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Tensors and JSON of a checkpoint, which :func:`restore` takes back."""
    method = learner.method
    values, tensors = optimizer_state(learner.optimizer)
    saved: dict[str, dict[str, Tensor]] = {
        name: network.state_dict() for name, network in method.networks.items()
    }
    saved |= {"optimizer": tensors, "random": random}
    if method.state:
        saved["method"] = dict(method.state)
    state: dict[str, Any] = {
        "step": position.step,
        "best": {name: (step, one.to_json()) for name, (step, one) in position.best.items()},
        "optimizer": values,
        "scaler": learner.precision.scaler.state_dict(),
        "validated": position.validated,
        "metrics_offset": position.metrics_offset,
        "regularizers": [],
    }
    for number, regularizer in enumerate(learner.regularizers):
        values, tensors = regularizer.state()
        state["regularizers"].append(values)
        saved[f"regularizer-{number}"] = tensors
    return saved, state


def restore(checkpoint: Checkpoint, learner: Learner) -> Position:
    """Give a learner what a checkpoint holds.

    Returns:
        Where the run was.

    Raises:
        CheckpointError: It is that of another network, method or regularizer.
    """
    state, tensors, method = checkpoint.state, checkpoint.tensors, learner.method
    for name, network in method.networks.items():
        if name not in tensors:
            raise CheckpointError(f"{checkpoint.path} holds no {name!r}; other method?")
        try:
            network.load_state_dict(tensors[name])
        except RuntimeError as error:
            raise CheckpointError(
                f"{checkpoint.path}: {name} does not fit the model of these settings"
            ) from error
    restore_optimizer(learner.optimizer, state["optimizer"], tensors["optimizer"])
    if state["scaler"]:  # empty unless the run was in fp16
        learner.precision.scaler.load_state_dict(state["scaler"])
    _restore_random(tensors["random"], learner.precision.device)
    saved = tensors.get("method", {})
    for name, tensor in method.state.items():
        if name not in saved or saved[name].shape != tensor.shape:
            raise CheckpointError(
                f"{checkpoint.path} holds no {name!r}: it was made with another targets.alignment"
            )
        tensor.copy_(saved[name])
    for number, regularizer in enumerate(learner.regularizers):
        if f"regularizer-{number}" not in tensors:
            raise CheckpointError(f"{checkpoint.path} was made without the regularizer")
        own = tensors[f"regularizer-{number}"]
        regularizer.restore(state["regularizers"][number], own)
    return Position(
        state["step"],
        _best_scores(checkpoint),
        state.get("validated", state["step"]),
        state["metrics_offset"],
    )


def _restore_random(states: Mapping[str, Tensor], device: torch.device) -> None:
    # A process that was not there before keeps what its seed gives.
    rank = world().rank
    if rank < len(states.get("cpu", ())):
        torch.set_rng_state(states["cpu"][rank].clone())  # a view crashes torch
    if rank < len(states.get("cuda", ())) and device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"][rank].clone(), device)


def _best_scores(checkpoint: Checkpoint) -> dict[str, tuple[int, Scores]]:
    try:
        return {
            name: (step, Scores.from_json(scores))
            for name, (step, scores) in checkpoint.state["best"].items()
            # One that somebody has removed is not to be beaten.
            if (checkpoint.path.parent / f"best-{name}").is_dir()
        }
    except (TypeError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{checkpoint.path}: its best scores are of an earlier version of mixseg; it can be "
            "evaluated, not resumed"
        ) from error
