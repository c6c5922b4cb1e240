"""Metadata that somebody else has written, with the right hashes: refused, never a traceback."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mixseg.config.schema import to_flat
from mixseg.config.sections import Settings
from mixseg.data.contract import ClassSet
from mixseg.data.record import differences, digests
from mixseg.errors import CheckpointError
from mixseg.evaluation.scores import Scores
from mixseg.training.checkpoint import read_checkpoint, write_checkpoint
from mixseg.training.saved_network import load_networks, load_settings, load_state, network_card
from mixseg.training.state import Position, random_states, restore, saved_state
from tests.training.test_update import learner_of

NAMES = ("one", "two", "three")
SCORES = Scores(NAMES, (0.5, None, 0.25), 0.375, 0.5, 3, "native", "whole")
RECORD = {"classes": ["one"], "label_ids": {"1": "one"}, "val": {"a": [1, 3]}}
VALUES = st.sampled_from(
    [
        *(None, -1, 0, 1, 2**63, 10**30, 1e300, True),
        *("", "x", "\x1b[31m", "\u00b2"),
        *([], {}, [[]], [None]),
    ]
)
"""In the place of what belongs there."""


@pytest.fixture(scope="module")
def learner() -> Any:
    return learner_of("semi_supervised")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, learner: Any) -> Path:
    path = tmp_path_factory.mktemp("forged") / "step-00000003"
    spec = learner.method.student.spec
    names = tuple(f"class {index}" for index in range(spec.num_classes))
    classes = ClassSet(names, ((0, 0, 0),) * len(names))
    logged = {"metrics_offset": 100, "metrics_sha256": "0" * 64}
    position = Position(3, {"student": (2, SCORES)}, 2, logged)
    tensors, state = saved_state(learner, position, random_states(torch.device("cpu")))
    card = network_card(spec, classes, to_flat(Settings()))
    record = {"classes": list(names), "label_ids": {"0": names[0]}, "val": {"a": [1, 2]}}
    card |= {"data": digests(record), "records": {"split.json": "{}"}}
    write_checkpoint(path, tensors, card | state)
    return path


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in JSON."""
    if path:
        yield path
    if isinstance(value, dict | list):
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(one, (*path, key))


def test_the_unchanged_one_is_read(written: Path, learner: Any) -> None:
    assert load_networks(written, "both").step == 3
    position = restore(read_checkpoint(written), learner)
    assert (position.step, position.best) == (3, {"student": (2, SCORES)})


def forged(written: Path, tmp_path: Path, **changes: Any) -> Path:
    original = read_checkpoint(written)
    path = tmp_path / "step-00000003"
    write_checkpoint(path, original.tensors, original.state | changes)
    return path


def test_a_record_that_cannot_be_compared_is_refused(written: Path, tmp_path: Path) -> None:
    for changes in (
        {"data": 5},
        {"data": {"classes": 5}},
        {"data": {"val": {"count": 1}}},
        {"classes": None},
    ):
        path = forged(written, tmp_path, **changes)
        for read in (load_state, lambda one: load_networks(one, "student")):
            with pytest.raises(CheckpointError, match=path.name):
                read(path)


def test_names_of_networks_lead_nowhere_else(written: Path, tmp_path: Path, learner: Any) -> None:
    best = read_checkpoint(written).state["best"]["student"]
    for name in ("student/../../../victim", "..", "", "a/b"):
        path = forged(written, tmp_path, best={name: best})
        with pytest.raises(CheckpointError, match="network"):
            restore(read_checkpoint(path), learner)


@pytest.mark.slow
@settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_other_value_is_read_or_refused(
    data: st.DataObject, written: Path, learner: Any
) -> None:
    original = read_checkpoint(written)
    top = data.draw(st.sampled_from(sorted(original.state)))
    below = [path for path in places(original.state) if path[0] == top]
    place = data.draw(st.sampled_from(below))
    state = copy.deepcopy(original.state)
    holder = state
    for key in place[:-1]:
        holder = holder[key]
    if data.draw(st.booleans()) and isinstance(holder, dict):
        del holder[place[-1]]
    else:
        holder[place[-1]] = data.draw(VALUES)
    try:
        write_checkpoint(written, original.tensors, state)
        for read in (
            lambda: differences(load_networks(written, "student").data, RECORD),
            lambda: load_settings(written),
            lambda: differences(load_state(written)["data"], RECORD, RECORD),
            lambda: restore(read_checkpoint(written), learner),
        ):
            try:
                read()
            except CheckpointError as error:
                assert str(written) in str(error) or "optimizer" in str(error)
    finally:
        write_checkpoint(written, original.tensors, original.state)
