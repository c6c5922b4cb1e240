"""A run on a CPU chooses its precision once; in bf16 it is as repeatable as in any other.

Here ``auto`` becomes bf16 on every machine; processors without instructions for it emulate it.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import hardware
from tests.end_to_end.processes import RUN, Launcher, assert_same_run, group_ok, metrics

BF16 = {hardware.VARIABLE: "bf16"}
AUTO = ("--precision", "auto", "--device", "cpu")


@pytest.fixture(scope="module")
def whole(launch: Launcher, config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run in bf16 that nothing interrupted."""
    cwd = tmp_path_factory.mktemp("whole")
    done = launch.ok("train_ssl", "--config", config, *AUTO, *RUN, cwd=cwd, **BF16)
    assert "precision bf16: clearly faster" in done.out
    assert "cpu, bf16, " in done.out
    assert " ms per step in bf16, " in done.out.split("best validation")[1]
    run = cwd / "out" / "run"
    for name in ("precision.json", "summary.json"):
        assert json.loads((run / name).read_text())["precision"] == "bf16"
    return run


def test_a_killed_run_goes_on_to_the_bit(
    whole: Path, launch: Launcher, config: Path, tmp_path: Path
) -> None:
    flags = ("--config", config, *AUTO, *RUN)
    run = tmp_path / "out" / "run"
    launch.start("train_ssl", *flags, **BF16).killed_after(run, 4)
    # Where a new run would take fp32, this one stays in what it has begun in.
    done = launch.ok("train_ssl", "--resume", "out/run", **{hardware.VARIABLE: "fp32"})
    assert "precision fp32: " not in done.out and "precision bf16: " not in done.out
    assert_same_run(whole, run)


def test_an_evaluation_is_in_the_precision_of_the_run(
    reference: Path, launch: Launcher, tmp_path: Path, whole: Path
) -> None:
    """Whatever ``auto`` would be on the machine at hand; where it lacks bf16, fp32 is taken."""
    for run, forced, same in (
        (reference, "bf16", True),
        (whole, "bf16", True),
        (whole, "fp32", False),
    ):
        more = {hardware.VARIABLE: forced}
        launch.ok("evaluate", run, "--json", "s.json", **more)
        scores = json.loads((tmp_path / "s.json").read_text())["scores"]
        last = json.loads((run / "summary.json").read_text())["last"]
        assert not same or scores == last


def test_it_computes_something_else_than_fp32(whole: Path, reference: Path) -> None:
    """Else the tests above would say nothing."""
    first, second = metrics(whole)[0], metrics(reference)[0]
    assert first["loss/supervised"] != second["loss/supervised"]
    assert first["loss/supervised"] == pytest.approx(second["loss/supervised"], rel=2**-5)


@pytest.mark.slow
def test_two_processes_are_one_within_the_steps_of_bf16(
    frozen: Path, launch: Launcher, tmp_path: Path
) -> None:
    flags = ("--config", frozen, *AUTO, "--iterations", 3, "--validation.every", 0)
    flags += ("--output", "out")
    launch.ok("train_ssl", *flags, "--name", "one", **BF16)
    group_ok(launch, "train_ssl", *flags, "--name", "two", **BF16)
    one, two = (tmp_path / "out" / name for name in ("one", "two"))
    assert json.loads((two / "summary.json").read_text())["precision"] == "bf16"
    for alone, together in zip(metrics(one), metrics(two), strict=True):
        for key, value in alone.items():
            if key.startswith(("loss/", "gradient_norm")):
                assert together[key] == pytest.approx(value, rel=2**-6, abs=2**-10), key
