"""Runs as array jobs of SLURM, queued through submitit."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import subprocess
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, final

from mixseg.ablation.cluster import Cluster, ClusterError, Task
from mixseg.batch_job import become
from mixseg.config.checks import check_numbers
from mixseg.config.values import Range
from mixseg.errors import ConfigError
from mixseg.files import read_text
from mixseg.interruption import EXIT_TERMINATED

if TYPE_CHECKING:
    import submitit

PATIENCE = 60
"""Seconds after which the controller counts as silent."""


def script_word(flag: str, text: str, *, path: bool = False) -> str:
    """Check a word that goes into a batch script.

    ``#SBATCH`` lines are comments to the shell: a quoted line break ends them all the same, and
    what follows it would be a command.

    Args:
        flag: What the word was given by, for the message.
        text: The word.
        path: Whether it is a path, which may have blanks and letters of all languages; % and \\
            stand for something else in SLURM's names of log files.

    Raises:
        ConfigError: The word cannot stand in such a script.
    """
    allowed = r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff%\\]+" if path else r"[!-~]+"
    if re.fullmatch(allowed, text) is None:
        kind = "a path without control characters, % and \\" if path else "a name without blanks"
        raise ConfigError(f"{flag} {text!r}: a batch script needs {kind}")
    return text


@final
@dataclass(frozen=True)
class SlurmSettings:
    """What every run of an array job is given.

    Attributes:
        time: Limit of a run's job: minutes, HH:MM:SS or D-HH:MM:SS. A run that needs longer goes on
            in the next job.
        partition: Where to run; none is the cluster's default.
        gpus: GPUs of a run, 0 or 1; 0 on a cluster without.
        cores: Cores of a run: its threads, and the processes that read images.
        memory: GB of a run; none is the cluster's default.
        account: Who is charged.
        qos: Quality of service.
        constraint: Features that a node must have.
        notice: Seconds before the limit, or before it is moved, in which a run is told to save; a
            step and a validation must fit.
        requeue: Whether a run goes back to the queue when it is preempted or reaches its limit.
    """

    time: str = "04:00:00"
    partition: str | None = None
    gpus: Annotated[int, Range(0, 64)] = 1
    cores: Annotated[int, Range(1, 4096)] = 4
    memory: Annotated[float | None, Range(0.1, 1e6)] = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    notice: Annotated[int, Range(1, 86_400)] = 180
    requeue: bool = True

    def __post_init__(self) -> None:
        """Refuse what SLURM would take for something else.

        Raises:
            ConfigError: A value is out of range.
        """
        check_numbers(self, "--slurm.")
        if self.gpus > 1:
            raise ConfigError(
                f"--slurm.gpus {self.gpus}: a run of an ablation takes one GPU; submit a run on "
                "several by itself, with torchrun (docs/scaling.md)"
            )
        for name in ("partition", "account", "qos", "constraint"):
            value = getattr(self, name)
            if value is not None:
                script_word(f"--slurm.{name}", value)
        if 2 * self.notice > 60 * self.minutes:
            raise ConfigError(
                f"--slurm.notice {self.notice}: the limit --slurm.time {self.time} must leave at "
                "least as long to train; give more time or less notice"
            )

    @property
    def minutes(self) -> int:
        """The limit, rounded up."""
        match = re.fullmatch(
            r"(?P<only>\d{1,7})|(?:(?P<days>\d{1,3})-)?(?P<h>\d{1,4}):(?P<m>\d\d):(?P<s>\d\d)",
            self.time,
        )
        if match is None:
            raise ConfigError(f"--slurm.time {self.time}: expected minutes, HH:MM:SS or D-HH:MM:SS")
        part = {name: int(text or 0) for name, text in match.groupdict().items()}
        seconds = part["s"] + 60 * part["m"] + 3600 * part["h"] + 86400 * part["days"]
        return part["only"] or -(-seconds // 60)


class SubmititCluster(Cluster):
    """A cluster that submitit knows.

    submitit pickles what it submits, the function :func:`become` by name with strings, and the job
    unpickles it; nothing that a job leaves behind is unpickled.
    """

    @abstractmethod
    def executor(self, folder: Path, name: str) -> submitit.Executor:
        """What submits a job of that name, with its files in a folder."""

    def submit(self, folder: Path, name: str, tasks: Sequence[Task]) -> list[str]:
        """Queue an array job; see :class:`Cluster`."""
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        executor = self.executor(folder, name)
        logs, commands = [str(one.log) for one in tasks], [list(one.command) for one in tasks]
        try:
            return [job.job_id for job in executor.map_array(become, logs, commands)]
        except (FailedJobError, FailedSubmissionError) as error:
            raise ClusterError(f"the jobs were refused: {' '.join(str(error).split())}") from error

    def last_words(self, folder: Path, task: str) -> tuple[str | None, str | None]:
        """What the cluster recorded; see :class:`Cluster`."""
        from submitit.core.utils import JobPaths

        path = JobPaths(folder, task).stderr
        if not path.is_file():
            return None, None
        lines = read_text(path, errors="replace").strip().splitlines()
        return self.ended(lines), lines[-1] if lines else None

    @abstractmethod
    def ended(self, lines: Sequence[str]) -> str | None:
        """Why the cluster ended a task, out of the errors that it recorded; None if it did not."""


@final
class SlurmCluster(SubmititCluster):
    """SLURM, by its commands ``sbatch`` and ``squeue``."""

    def __init__(self, settings: SlurmSettings, output: Path, at_once: int | None) -> None:
        """Submit with these settings, at most ``at_once`` runs of an array at a time.

        Args:
            settings: What every run is given.
            output: Folder of the ablation; batch scripts name files in it.
            at_once: Number of runs; None leaves it to the cluster.

        Raises:
            ConfigError: submitit or SLURM is missing here, or the folder has a name that cannot
                stand in a batch script.
        """
        script_word("--output", str(output.absolute()), path=True)
        if importlib.util.find_spec("submitit") is None:
            raise ConfigError("--launcher slurm: submitit is missing; pip install 'mixseg[slurm]'")
        for program in ("sbatch", "srun", "squeue"):
            if shutil.which(program) is None:
                raise ConfigError(
                    f"--launcher slurm: there is no {program} here; call it on a machine that "
                    "submits jobs"
                )
        self.settings = settings
        self.at_once = at_once

    def executor(self, folder: Path, name: str) -> submitit.Executor:
        """What submits; see :class:`SubmititCluster`."""
        import submitit

        settings = self.settings
        executor = submitit.SlurmExecutor(script_word("--output", str(folder), path=True))
        parameters: dict[str, Any] = {
            "job_name": script_word("name of the job", name),
            "time": settings.minutes,
            "partition": settings.partition,
            "gpus_per_node": settings.gpus or None,
            "cpus_per_task": settings.cores,
            "mem": None if settings.memory is None else f"{round(1024 * settings.memory)}M",
            "account": settings.account,
            "qos": settings.qos,
            "constraint": settings.constraint,
            "signal_delay_s": settings.notice,
            "wckey": None,
            # srun of SLURM 22.05 and later does not take the job's cores for its step's.
            "srun_args": [f"--cpus-per-task={settings.cores}"],
            "setup": [f"export OMP_NUM_THREADS={settings.cores}"],
            "additional_parameters": {"requeue" if settings.requeue else "no-requeue": True},
        }
        if self.at_once is not None:
            parameters["array_parallelism"] = self.at_once
        if settings.requeue:
            # SLURM requeues what it preempts, but not what reaches its limit.
            parameters["teardown"] = [
                "code=$?",
                f'if [ "$code" -eq {EXIT_TERMINATED} ]; then scontrol requeue "$SLURM_JOB_ID"; fi',
                'exit "$code"',
            ]
        executor.update_parameters(**parameters)
        return executor

    def queue(self, names: Sequence[str]) -> Mapping[tuple[str, int], str]:
        """What waits or runs; see :class:`Cluster`."""
        command = ["squeue", "--noheader", "--array", f"--name={','.join(names)}"]
        command.append("--format=%j|%K|%T|%R")
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=PATIENCE, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise ClusterError(f"squeue does not answer within {PATIENCE} seconds") from error
        if done.returncode:
            raise ClusterError(f"squeue fails: {' '.join(done.stderr.split())}")
        states = {}
        for line in done.stdout.splitlines():
            name, index, state, where = line.split("|", 3)
            # A job of one task is no array and has no index.
            states[name, int(index) if index.isdigit() else 0] = f"{state.lower()} {where}".strip()
        return states

    def ended(self, lines: Sequence[str]) -> str | None:
        """Why SLURM ended a task; what it only moved to another job goes on there."""
        said = (re.fullmatch(r"slurmstepd(?:-\S+)?: error: (.*)", line) for line in lines)
        moved = ("DUE TO JOB REQUEUE", "DUE TO PREEMPTION")
        told = [
            match[1].strip("* ")
            for match in said
            if match is not None and not any(words in match[1] for words in moved)
        ]
        return told[-1] if told else None

    def advice(self, names: Sequence[str]) -> Sequence[str]:
        """How to look and how to cancel."""
        listed = shlex.quote(",".join(names))
        return (f"look: squeue --name={listed}", f"cancel: scancel --name={listed}")
