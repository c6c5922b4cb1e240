"""What a checkpoint holds of a run: written after a step, read back to go on from there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor

from mixseg.data.record import check_digests
from mixseg.distributed import gathered, world
from mixseg.engine.checkpoint import Checkpoint
from mixseg.engine.learner import Learner
from mixseg.engine.optimizer_state import optimizer_state, restore_optimizer
from mixseg.errors import CheckpointError
from mixseg.evaluation.scores import Scores
from mixseg.models import load_checked


@final
@dataclass
class Position:
    """Where a run is, besides what it has learnt.

    Attributes:
        step: Steps done.
        best: Network -> (step, scores) of its best validation.
        validated: Step of the last validation.
        metrics_offset: Bytes of ``metrics.jsonl`` up to here.
        metrics_sha256: Of these bytes; empty in a run of an earlier version.
    """

    step: int = 0
    best: dict[str, tuple[int, Scores]] = field(default_factory=dict)
    validated: int = 0
    metrics_offset: int = 0
    metrics_sha256: str = ""


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
        "metrics_sha256": position.metrics_sha256,
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
        CheckpointError: It is that of another network, method or regularizer, or what it holds is
            no state of a run.
    """
    try:
        position = _position(checkpoint)
        _restore(checkpoint, learner)
        return position
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
        # Its hashes are right, so that nothing was damaged: somebody else has written it.
        raise CheckpointError(
            f"{checkpoint.path}: is not a checkpoint that this version can go on from: {error!r}"
        ) from error


def _restore(checkpoint: Checkpoint, learner: Learner) -> None:
    state, tensors, method = checkpoint.state, checkpoint.tensors, learner.method
    for name, network in method.networks.items():
        if name not in tensors:
            raise CheckpointError(f"{checkpoint.path} holds no {name!r}; other method?")
        try:
            load_checked(network, tensors[name], checkpoint.path / f"{name}.safetensors")
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


def _position(checkpoint: Checkpoint) -> Position:
    state = checkpoint.state
    numbers = [state["step"], state.get("validated", state["step"]), state["metrics_offset"]]
    if not all(type(number) is int and 0 <= number < 2**63 for number in numbers):
        raise ValueError(f"step, validated and metrics_offset are {numbers}")
    check_digests(state.get("data", {}))
    step, validated, offset = numbers
    sha256 = state.get("metrics_sha256", "")
    return Position(step, _best_scores(checkpoint), validated, offset, str(sha256))


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
