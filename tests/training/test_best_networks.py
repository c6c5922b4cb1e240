"""The best networks are those that a checkpoint knows."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mixseg.training.checkpoint import (
    BestNetworks,
    CheckpointStore,
    read_checkpoint,
    write_checkpoint,
)


def write(best: BestNetworks, step: int, value: float) -> None:
    best.write("student", {"weight": torch.tensor([value])}, {"step": step})


def current(folder: Path) -> tuple[int, float]:
    found = read_checkpoint(folder / "best-student")
    return found.state["step"], float(found.tensors["student"]["weight"])


def save(folder: Path, step: int, best: int) -> CheckpointStore:
    """A checkpoint whose best validation was after a step."""
    store = CheckpointStore(folder, keep=2)
    store.save(step, {}, {"best": {"student": [best, {}]}})
    return store


def test_one_that_the_resumed_run_never_had_goes(tmp_path: Path) -> None:
    best = BestNetworks(tmp_path)
    write(best, 2, 0.2)
    save(tmp_path, 3, best=2)
    write(best, 4, 0.4)
    write(best, 6, 0.6)
    assert current(tmp_path) == (6, pytest.approx(0.6))
    assert best.restore({"student": 2}) == []
    assert current(tmp_path) == (2, pytest.approx(0.2))
    assert not list(tmp_path.glob("best-*.step-*"))
    # Before the first validation there is none.
    assert best.restore({}) == []
    assert not list(tmp_path.glob("best-*"))


def test_those_before_stay_as_long_as_a_checkpoint_knows_them(tmp_path: Path) -> None:
    best = BestNetworks(tmp_path)
    write(best, 2, 0.2)
    save(tmp_path, 3, best=2)
    write(best, 4, 0.4)
    store = save(tmp_path, 5, best=4)
    best.prune(store.candidates())
    assert [path.name for path in tmp_path.glob("best-*.step-*")] == ["best-student.step-00000002"]
    store = save(tmp_path, 7, best=4)
    best.prune(store.candidates())
    assert not list(tmp_path.glob("best-*.step-*"))
    assert current(tmp_path) == (4, pytest.approx(0.4))


@pytest.mark.parametrize("damage", ["removed", "damaged", "renamed away by a kill"])
def test_what_became_of_the_best_one(damage: str, tmp_path: Path) -> None:
    best = BestNetworks(tmp_path)
    write(best, 2, 0.2)
    if damage == "renamed away by a kill":
        (tmp_path / "best-student").rename(tmp_path / "best-student.step-00000002")
        assert best.restore({"student": 2}) == []
        assert current(tmp_path) == (2, pytest.approx(0.2))
        return
    if damage == "damaged":
        (tmp_path / "best-student" / "state.json").write_text("{}")
    else:
        for path in (tmp_path / "best-student").iterdir():
            path.unlink()
    assert best.restore({"student": 2}) == ["student"]


def test_a_validation_that_is_repeated_replaces_its_network(tmp_path: Path) -> None:
    best = BestNetworks(tmp_path)
    write(best, 2, 0.2)
    write(best, 2, 0.3)
    assert current(tmp_path) == (2, pytest.approx(0.3))
    assert [path.name for path in tmp_path.glob("best-*")] == ["best-student"]


def test_an_average_that_was_called_teacher_gets_its_name(tmp_path: Path) -> None:
    best = BestNetworks(tmp_path)
    for step in (2, 4):
        best.write("teacher", {"weight": torch.zeros(1)}, {"step": step})
    assert best.restore({"average": 2}) == []
    assert [path.name for path in tmp_path.iterdir()] == ["best-average"]
    write_checkpoint(tmp_path / "step-1", {}, {"best": {"teacher": [2, {}]}})
    best.write("average", {"weight": torch.zeros(1)}, {"step": 6})
    best.prune([tmp_path / "step-1"])
    assert (tmp_path / "best-average.step-00000002").is_dir()
