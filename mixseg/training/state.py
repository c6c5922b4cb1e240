"""From a run to the content of its checkpoints, and back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor

from mixseg.data.record import check_digests
from mixseg.distributed import gathered, world
from mixseg.errors import CheckpointError
from mixseg.evaluation.scores import Scores
from mixseg.models import load_checked
from mixseg.training.checkpoint import AVERAGE, TEACHER, Checkpoint
from mixseg.training.optimizer_state import optimizer_state, restore_optimizer
from mixseg.training.update import Learner


@final
@dataclass
class Position:
    """How far a run is.

    Attributes:
        step: Steps done.
        best: Network -> (step, scores) of its best validation.
        validated: Step of the last validation.
        logged: What loggers have saved, and other values.
    """

    step: int = 0
    best: dict[str, tuple[int, Scores]] = field(default_factory=dict)
    validated: int = 0
    logged: dict[str, Any] = field(default_factory=dict)


def random_states(device: torch.device) -> dict[str, Tensor]:
    """States of torch's own generators, one row for each process; all call this."""
    states = {"cpu": gathered(torch.get_rng_state()[None])}
    if device.type == "cuda":
        states["cuda"] = gathered(torch.cuda.get_rng_state(device)[None])
    return states


def saved_state(
    learner: Learner, position: Position, random: dict[str, Tensor]
) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Tensors and JSON of a checkpoint; the inverse of :func:`restore`."""
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
        **position.logged,
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
        How far the run was.

    Raises:
        CheckpointError: It is that of another network, method or regularizer, or what it holds is
            no state of a run.
    """
    try:
        position = _position(checkpoint)
        _restore(checkpoint, learner)
        if AVERAGE in learner.method.networks and TEACHER in position.best:
            position.best[AVERAGE] = position.best.pop(TEACHER)
        return position
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
        # Its hashes are right, so that nothing was damaged: somebody else has written it.
        raise CheckpointError(
            f"{checkpoint.path}: is not a checkpoint that this version can go on from: {error!r}"
        ) from error


def _restore(checkpoint: Checkpoint, learner: Learner) -> None:
    state, tensors, method = checkpoint.state, checkpoint.tensors, learner.method
    for name, network in method.networks.items():
        saved = TEACHER if name == AVERAGE and name not in tensors else name
        if saved not in tensors:
            raise CheckpointError(f"{checkpoint.path} holds no {name!r}; other method?")
        try:
            load_checked(network, tensors[saved], checkpoint.path / f"{saved}.safetensors")
        except RuntimeError as error:
            raise CheckpointError(
                f"{checkpoint.path}: {name} does not fit the model of these settings"
            ) from error
    restore_optimizer(learner.optimizer, state["optimizer"], tensors["optimizer"])
    if state["scaler"]:  # empty unless the run was in fp16
        learner.precision.scaler.load_state_dict(state["scaler"])
    _restore_random(tensors["random"], learner.precision.device)
    kept = tensors.get("method", {})
    for name, tensor in method.state.items():
        if name not in kept or kept[name].shape != tensor.shape:
            raise CheckpointError(
                f"{checkpoint.path} holds no {name!r}: it was made with other targets.alignment or "
                "targets.weighting"
            )
        tensor.copy_(kept[name])
    for number, regularizer in enumerate(learner.regularizers):
        if f"regularizer-{number}" not in tensors:
            raise CheckpointError(f"{checkpoint.path} was made without the regularizer")
        own = tensors[f"regularizer-{number}"]
        regularizer.restore(state["regularizers"][number], own)


def _position(checkpoint: Checkpoint) -> Position:
    state = checkpoint.state
    numbers = [state["step"], state.get("validated", state["step"]), state["metrics_offset"]]
    if not all(type(number) is int and 0 <= number < 2**63 for number in numbers):
        raise ValueError(f"step, validated and metrics_offset are {numbers}")
    check_digests(state.get("data", {}))
    step, validated, _ = numbers
    return Position(step, _best_scores(checkpoint), validated, state)


def _restore_random(states: Mapping[str, Tensor], device: torch.device) -> None:
    # A process that was not there before keeps what its seed gives.
    rank = world().rank
    if rank < len(states.get("cpu", ())):
        torch.set_rng_state(states["cpu"][rank].clone())  # a view crashes torch
    if rank < len(states.get("cuda", ())) and device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"][rank].clone(), device)


def _best_scores(checkpoint: Checkpoint) -> dict[str, tuple[int, Scores]]:
    names = [str(name) for name in checkpoint.state["best"]]
    if wrong := [name for name in names if not re.fullmatch(r"\w[\w-]*", name)]:
        # They name folders, which are moved and removed.
        raise CheckpointError(f"{checkpoint.path}: {wrong[0]!r} is not the name of a network")
    try:
        return {
            str(name): (int(step), Scores.from_json(scores))
            for name, (step, scores) in checkpoint.state["best"].items()
        }
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"{checkpoint.path}: its best scores are of an earlier version of mixseg; it can be "
            "evaluated, not resumed"
        ) from error
