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


@pytest.fixture
def best(tmp_path: Path) -> BestNetworks:
    return BestNetworks(tmp_path)


def write(best: BestNetworks, *steps: int, name: str = "student") -> None:
    for step in steps:
        best.write(name, {"weight": torch.tensor([float(step)])}, {"step": step})


def current(folder: Path) -> tuple[int, float]:
    found = read_checkpoint(folder / "best-student")
    return found.state["step"], float(found.tensors["student"]["weight"])


def save(folder: Path, step: int, best: int) -> list[Path]:
    """A checkpoint whose best validation was after a step; gives all checkpoints."""
    store = CheckpointStore(folder, keep=2)
    store.save(step, {}, {"best": {"student": [best, {}]}})
    return store.candidates()


def earlier(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("best-*.step-*")]


def test_one_that_the_resumed_run_never_had_goes(best: BestNetworks, tmp_path: Path) -> None:
    write(best, 2)
    save(tmp_path, 3, best=2)
    write(best, 4, 6, 6)  # a validation that is repeated replaces its network
    assert current(tmp_path) == (6, 6.0)
    assert best.restore({"student": 2}) == []
    assert (current(tmp_path), earlier(tmp_path)) == ((2, 2.0), [])
    # Before the first validation there is none.
    assert best.restore({}) == []
    assert not list(tmp_path.glob("best-*"))


def test_those_before_stay_as_long_as_a_checkpoint_knows_them(
    best: BestNetworks, tmp_path: Path
) -> None:
    write(best, 2)
    save(tmp_path, 3, best=2)
    write(best, 4)
    best.prune(save(tmp_path, 5, best=4))
    assert earlier(tmp_path) == ["best-student.step-00000002"]
    best.prune(save(tmp_path, 7, best=4))
    assert (current(tmp_path), earlier(tmp_path)) == ((4, 4.0), [])


def test_what_became_of_the_best_one(best: BestNetworks, tmp_path: Path) -> None:
    write(best, 2)
    (tmp_path / "best-student").rename(tmp_path / "best-student.step-00000002")  # by a kill
    assert best.restore({"student": 2}) == []
    assert current(tmp_path) == (2, 2.0)
    (tmp_path / "best-student" / "state.json").write_text("{}")
    for _ in ("damaged", "removed"):
        assert best.restore({"student": 2}) == ["student"]


def test_an_average_that_was_called_teacher_gets_its_name(
    best: BestNetworks, tmp_path: Path
) -> None:
    write(best, 2, 4, name="teacher")
    assert best.restore({"average": 2}) == []
    assert [path.name for path in tmp_path.iterdir()] == ["best-average"]
    write_checkpoint(tmp_path / "step-1", {}, {"best": {"teacher": [2, {}]}})
    write(best, 6, name="average")
    best.prune([tmp_path / "step-1"])
    assert (tmp_path / "best-average.step-00000002").is_dir()
