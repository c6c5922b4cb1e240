"""Runs as jobs, on submitit's local executor: real processes of this machine."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
import submitit
import yaml

from mixseg.ablation import ClusterLauncher, Grid, Job, SlurmSettings, load_grid, plan
from mixseg.ablation.cluster import WITHOUT_A_WORD, Task
from mixseg.ablation.slurm import SubmititCluster
from mixseg.errors import ConfigError
from tests.end_to_end.conftest import TINY
from tests.end_to_end.processes import metrics


class Processes(SubmititCluster):
    """A cluster whose jobs all run at once, here."""

    def __init__(self) -> None:
        self.jobs: dict[str, list[submitit.LocalJob[None]]] = {}
        self.dies_after_submitting = False

    def executor(self, folder: Path, name: str) -> submitit.Executor:
        executor = submitit.LocalExecutor(folder)
        executor.update_parameters(timeout_min=10)
        self.jobs[name] = []
        map_array = executor.map_array

        def remembered(*arguments: object) -> list[submitit.LocalJob[None]]:
            self.jobs[name] += map_array(*arguments)
            if self.dies_after_submitting:
                raise KeyboardInterrupt
            return self.jobs[name]

        executor.map_array = remembered
        return executor

    def queue(self, names: Sequence[str]) -> Mapping[tuple[str, int], str]:
        return {
            (name, index): "running here"
            for name in names
            for index, job in enumerate(self.jobs[name])
            if not job.done()
        }

    def ended(self, lines: Sequence[str]) -> str | None:
        return None

    def advice(self, names: Sequence[str]) -> Sequence[str]:
        return [f"look at {name}" for name in names]

    def close(self) -> None:
        for jobs in self.jobs.values():
            for job in jobs:
                assert job._process is not None
                job._process.send_signal(signal.SIGTERM)
                job._process.wait(60)


@pytest.fixture
def cluster() -> Iterator[Processes]:
    found = Processes()
    yield found
    found.close()


def until(condition: Callable[[], object], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the moment did not come"
        time.sleep(0.02)


SCRIPT = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: print("told to stop", flush=True))
print(os.getpid(), flush=True)
print("an error", file=sys.stderr, flush=True)
time.sleep(float(sys.argv[1])); time.sleep(0.3)
sys.exit(7)
"""


def test_a_command_takes_the_place_of_its_job(cluster: Processes, tmp_path: Path) -> None:
    logs = [tmp_path / "one.log", tmp_path / "two.log"]
    logs[0].write_text("from before\n")
    tasks = [Task(log, (sys.executable, "-c", SCRIPT, "60")) for log in logs]
    ids = cluster.submit(tmp_path / "jobs", "name", tasks)
    assert len(set(ids)) == 2
    until(lambda: all(log.is_file() and "an error" in log.read_text() for log in logs))
    assert set(cluster.queue(["name"])) == {("name", 0), ("name", 1)}
    first, heading, process, _ = logs[0].read_text().splitlines()
    assert first == "from before"
    assert heading.startswith(f"--- job {ids[0]} on ")
    # One signal to the process that the cluster knows, which then is the command itself.
    command = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    assert command[1] == ids[0], "a child of submitit's controller"
    os.kill(int(process), signal.SIGTERM)
    until(lambda: "told to stop" in logs[0].read_text())
    assert logs[0].read_text().count("told to stop") == 1
    # No result is left that somebody could unpickle.
    assert not list(tmp_path.rglob("*result*"))
    os.kill(int(process), signal.SIGKILL)
    os.kill(int(logs[1].read_text().splitlines()[1]), signal.SIGKILL)
    until(lambda: not cluster.queue(["name"]))


@pytest.fixture
def grid(tmp_path: Path) -> Grid:
    (tmp_path / "configs/ablations").mkdir(parents=True)
    (tmp_path / "configs/tiny.yaml").write_text(yaml.safe_dump(TINY | {"validation": {"every": 0}}))
    path = tmp_path / "configs/ablations/small.yaml"
    path.write_text(
        "title: Small\nbase: tiny.yaml\nseeds: 1\ndefault: long\nrows:\n"
        "  long: {set: {method: supervised, training.iterations: 60}}\n"
        "  no data: {set: {data.dataset: camvid, data.root: /nowhere}}\n"
    )
    return load_grid(path)


@pytest.mark.slow
def test_runs_are_submitted_once_and_failed_ones_are_told(
    grid: Grid, cluster: Processes, tmp_path: Path
) -> None:
    said: list[str] = []
    output = tmp_path / "out"

    def jobs(**changes: object) -> tuple[Job, ...]:
        return plan(grid, output, [0], changes)

    def submissions() -> list[Path]:
        return sorted((output / "submissions").glob("*.json"))

    # A call that is killed after the cluster has taken the jobs, before it knows their ids.
    cluster.dies_after_submitting = True
    with pytest.raises(KeyboardInterrupt):
        ClusterLauncher(cluster, output, wait=True).run(jobs(), said.append)
    cluster.dies_after_submitting = False
    (first,) = submissions()
    assert json.loads(first.read_text()) == {"runs": ["long-seed0", "no-data-seed0"], "ids": []}

    # Other settings do not get under a run that waits.
    with pytest.raises(ConfigError, match=r"in the queue with other.*optimizer.lr: 0.01 -> 0.5"):
        ClusterLauncher(cluster, output, wait=False).run(jobs(**{"optimizer.lr": 0.5}), said.append)

    # The next call finds them in the queue.
    launcher = ClusterLauncher(cluster, output, wait=False)
    assert launcher.run(jobs(), said.append) == {}
    assert said[:2] == [f"{name}, seed 0: running here, submitted before" for name in grid_rows()]
    assert f"look at {first.stem}" in said and submissions() == [first]

    # The run is told to stop, as by a cluster that wants its machine back.
    log = output / "long-seed0/metrics.jsonl"
    until(lambda: log.is_file() and log.read_text().count("\n") > 2)
    until(lambda: (first.stem, 1) not in cluster.queue([first.stem]))
    process = cluster.jobs[first.stem][0]._process
    assert process is not None
    process.send_signal(signal.SIGTERM)
    until(lambda: not cluster.queue([first.stem]))

    # What is missing is submitted again, goes on, and the failure is the run's last line.
    before = len(metrics(output / "long-seed0"))
    errors = ClusterLauncher(cluster, output, wait=True).run(jobs(), said.append)
    assert list(errors) == [("no data", 0)]
    assert "/nowhere is not a folder" in errors["no data", 0]
    assert len(submissions()) == 2
    assert f", from step {before}" in (output / "long-seed0.log").read_text()
    assert jobs()[0].done and "long, seed 0: done" in said

    said.clear()
    launcher.run(jobs()[:1], said.append)
    assert said == ["long, seed 0: done before"]
    assert len(submissions()) == 2


def grid_rows() -> tuple[str, str]:
    return "long", "no data"


def test_a_job_that_never_began(grid: Grid, tmp_path: Path) -> None:
    class Cancelled(Processes):
        """Its queue forgets what it was given."""

        def submit(self, folder: Path, name: str, tasks: Sequence[Task]) -> list[str]:
            self.jobs[name] = []
            return [f"1_{index}" for index in range(len(tasks))]

    jobs = plan(grid, tmp_path / "out", [0], {})
    jobs[0].log.parent.mkdir()
    jobs[0].log.write_text("--- job 0_0 on a node ---\nan error of an earlier job\n")
    errors = ClusterLauncher(Cancelled(), tmp_path / "out", wait=True).run(jobs, print)
    assert errors == {("long", 0): WITHOUT_A_WORD, ("no data", 0): WITHOUT_A_WORD}


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("90", 90), ("00:10:00", 10), ("04:00:01", 241), ("2-12:30:00", 3630), ("100:00:00", 6000)],
)
def test_time_limits(text: str, minutes: int) -> None:
    assert SlurmSettings(time=text).minutes == minutes


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"time": "soon"}, "--slurm.time soon: expected minutes"),
        ({"time": "0"}, "--slurm.notice 180"),
        ({"time": "5"}, "--slurm.notice 180"),
        ({"gpus": -1}, "--slurm.gpus .*-1"),
        ({"gpus": 2}, "--slurm.gpus 2: a run of an ablation takes one GPU"),
        ({"cores": 0}, "--slurm.cores .*0"),
        ({"memory": 0.0}, "--slurm.memory"),
        ({"partition": "a\n#SBATCH --uid=0"}, "--slurm.partition"),
        ({"account": ""}, "--slurm.account"),
    ],
)
def test_refused_settings(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SlurmSettings(**values)
