"""Runs as jobs of a cluster: one array for all that is missing, then waiting for it."""

from __future__ import annotations

import fcntl
import json
import re
import secrets
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from mixseg.ablation.launcher import Errors, Launcher
from mixseg.ablation.runs import ERROR_LENGTH, Job, refuse_changes
from mixseg.batch_job import heading
from mixseg.errors import MixsegError
from mixseg.files import read_json, write_atomically

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds between two looks at the queue: short runs are noticed soon, long ones ask seldom."""

WITHOUT_A_WORD = "left the queue without a word; was it cancelled?"


class ClusterError(MixsegError):
    """A cluster refuses jobs, or does not answer."""


@final
@dataclass(frozen=True)
class Task:
    """A member of an array job.

    Attributes:
        log: What it prints is added to this file.
        command: What it runs.
    """

    log: Path
    command: Sequence[str]


class Cluster(ABC):
    """Machines behind a queue."""

    @abstractmethod
    def submit(self, folder: Path, name: str, tasks: Sequence[Task]) -> list[str]:
        """Queue an array job.

        Args:
            folder: For the cluster's own files of this job.
            name: Of the job, used once.
            tasks: At least one.

        Returns:
            An id for each task, as the cluster's tools take it.

        Raises:
            ClusterError: It was refused.
        """

    @abstractmethod
    def queue(self, names: Sequence[str]) -> Mapping[tuple[str, int], str]:
        """What waits or runs.

        Args:
            names: Of array jobs.

        Returns:
            (name, index of the task) -> its state in words; tasks that have ended are not in it.

        Raises:
            ClusterError: The cluster does not answer.
        """

    @abstractmethod
    def last_words(self, folder: Path, task: str) -> tuple[str | None, str | None]:
        """What the cluster recorded of a task that ended.

        Returns:
            Why it ended the task, if it did; and the end of what was printed before its log began.
        """

    @abstractmethod
    def advice(self, names: Sequence[str]) -> Sequence[str]:
        """How to look at jobs and how to cancel them."""


@final
@dataclass(frozen=True)
class Submission:
    """An array job that was queued, now or by an earlier call.

    Attributes:
        name: Of the job.
        runs: Names of the runs' folders, in the order of its tasks.
        ids: Of the tasks; empty where the call ended before it knew them.
    """

    name: str
    runs: tuple[str, ...]
    ids: tuple[str, ...] = ()


@final
class ClusterLauncher(Launcher):
    """Submits what is missing as one array job."""

    def __init__(self, cluster: Cluster, output: Path, *, wait: bool) -> None:
        """Submit to a cluster.

        Args:
            cluster: Which one.
            output: Folder of the ablation; what was submitted is recorded in it.
            wait: Whether to wait until all runs have ended.
        """
        self.cluster = cluster
        self.folder = output / "submissions"
        self.wait = wait

    def run(self, jobs: Sequence[Job], say: Callable[[str], None]) -> Errors:
        """Train; see :class:`Launcher`.

        Raises:
            ClusterError: The cluster refuses the jobs or does not answer.
            ConfigError: A run is in the queue with other settings.
        """
        with self._alone():
            queued = self._queued(jobs)
            missing = []
            for job in jobs:
                if job.done:
                    say(f"{job.title}: done before")
                elif job.folder.name in queued:
                    refuse_changes(job, job.preset, "is in the queue")
                    say(f"{job.title}: {queued[job.folder.name]}, submitted before")
                else:
                    missing.append(job)
            if missing:
                self._submit(missing, say)
        if self.wait:
            return self._wait(jobs, queued, say)
        left = sum(not job.done for job in jobs)
        for line in self.parting() if left else ():
            say(line)
        return {}

    def parting(self) -> Sequence[str]:
        """The jobs stay where they are."""
        names = [one.name for one in self._submissions()]
        if not names:
            return ("nothing was submitted",)
        return (
            *("not waiting; the jobs stay in the queue", *self.cluster.advice(names)),
            "the same command waits for them and shows the table",
        )

    def _submit(self, jobs: Sequence[Job], say: Callable[[str], None]) -> None:
        ablation = re.sub(r"[^A-Za-z0-9.]+", "-", self.folder.absolute().parent.name)
        token = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
        submission = Submission(
            f"mixseg-{ablation}-{token}", tuple(job.folder.name for job in jobs)
        )
        for job in jobs:
            job.prepare()
        # Before the jobs are: a call that is killed meanwhile must not submit them twice.
        self._record(submission)
        tasks = [Task(job.log.absolute(), job.command) for job in jobs]
        folder = self.folder.absolute() / submission.name
        ids = self.cluster.submit(folder, submission.name, tasks)
        self._record(Submission(submission.name, submission.runs, tuple(ids)))
        for job, task in zip(jobs, ids, strict=True):
            say(f"{job.title}: submitted as {task}, see {job.log}")

    def _wait(
        self, jobs: Sequence[Job], states: Mapping[str, str], say: Callable[[str], None]
    ) -> Errors:
        waiting = [job for job in jobs if not job.done]
        known, absences = dict(states), Counter[str]()
        errors: dict[tuple[str, int], str] = {}
        pause, silent = FIRST_PAUSE, False
        while waiting:
            time.sleep(pause)
            pause = min(LONGEST_PAUSE, 1.1 * pause)
            try:
                queued = self._queued(waiting)
            except ClusterError as error:
                if not silent:
                    say(f"{error}; asking on")
                silent = True
                continue
            silent = False
            for job in tuple(waiting):
                name = job.folder.name
                # Asked anew: it may have ended since the queue was read.
                if job.done:
                    say(f"{job.title}: done")
                    waiting.remove(job)
                elif name in queued:
                    absences[name] = 0
                    if queued[name].split()[0] != known.get(name, "").partition(" ")[0]:
                        say(f"{job.title}: {queued[name]}")
                    known[name] = queued[name]
                else:
                    # Twice: a network drive may show the summary later than the queue its end.
                    absences[name] += 1
                    if absences[name] > 1:
                        errors[job.row, job.seed] = why = self._why(job)
                        say(f"{job.title}: {why}")
                        waiting.remove(job)
        return errors

    def _why(self, job: Job) -> str:
        """Why a run that is not finished has left the queue."""
        for one in reversed(self._submissions()):
            if job.folder.name in one.runs and one.ids:
                task = one.ids[one.runs.index(job.folder.name)]
                ended, before = self.cluster.last_words(self.folder.absolute() / one.name, task)
                text = ended or job.last_line(after=heading(task)) or before or WITHOUT_A_WORD
                return text[:ERROR_LENGTH]
        return WITHOUT_A_WORD

    def _queued(self, jobs: Sequence[Job]) -> dict[str, str]:
        """Name of a run's folder -> its state, for those that wait or run."""
        wanted = {job.folder.name for job in jobs if not job.done}
        asked = [one for one in self._submissions() if wanted & set(one.runs)]
        if not asked:
            return {}
        states = self.cluster.queue([one.name for one in asked])
        return {
            run: states[one.name, index]
            for one in asked
            for index, run in enumerate(one.runs)
            if run in wanted and (one.name, index) in states
        }

    def _submissions(self) -> list[Submission]:
        """Earlier ones of which a run is not finished, oldest first."""
        found = []
        for path in sorted(self.folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns):
            try:
                content: Any = read_json(path)
                one = Submission(path.stem, tuple(content["runs"]), tuple(content["ids"]))
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise ClusterError(
                    f"{path}: is damaged, and which jobs were submitted cannot be told. Look at "
                    "the queue, and remove the file once nothing of this ablation is in it"
                ) from error
            if not all(
                (self.folder.parent / run / "summary.json").is_file() for run in map(str, one.runs)
            ):
                found.append(one)
        return found

    def _record(self, submission: Submission) -> None:
        content = {"runs": submission.runs, "ids": submission.ids}
        write_atomically(self.folder / f"{submission.name}.json", json.dumps(content, indent=1))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Two calls at once must not submit the same runs."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
