"""The runs of an ablation as an array job of SLURM.

``OUTPUT/array.sh`` is the batch script, ``OUTPUT/array.txt`` has the command of a run on each line.
"""

from __future__ import annotations

import hashlib
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from mixseg.ablation.runs import ERROR_LENGTH, Errors, Job
from mixseg.config.values import Range
from mixseg.errors import ConfigError, MixsegError
from mixseg.files import FolderLock, read_text, write_atomically
from mixseg.interruption import EXIT_TERMINATED
from mixseg.terminal import shell_line

SCRIPT = """#!/bin/bash
{options}
export OMP_NUM_THREADS={cores}
line="$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" {commands})"
eval "srun --cpus-per-task={cores} $line"
code=$?
# SLURM requeues what it preempts, but not what reaches its time limit.
if {requeue} && [ "$code" -eq {terminated} ]; then scontrol requeue "$SLURM_JOB_ID"; fi
exit "$code"
"""
MARK = "--- submitted "  # begins a line in the log of a run
WORDS = ("partition", "account", "qos", "constraint")
SETTINGS: dict[str, tuple[Any, Range | None, Any, str]] = {
    "time": (str, None, "04:00:00", "limit of a job: minutes, HH:MM:SS or D-HH:MM:SS"),
    "gpus": (int, Range(0, 1), 1, "GPUs of a run; 0 on a cluster without"),
    "cores": (int, Range(1, 4096), 4, "cores of a run: threads, and processes that read images"),
    "memory": (float, Range(0.1, 1e6), None, "GB of a run; none is the cluster's default"),
    "notice": (int, Range(1, 86_400), 180, "seconds before the limit at which a run has to save"),
    "requeue": (bool, None, True, "whether preemption and the limit bring a run back to the queue"),
    **{name: (str, None, None, f"--{name} of sbatch") for name in WORDS},
}
"""Name of a flag ``--slurm.NAME`` -> type, range, default, and help."""


class SlurmArray:
    """The runs of an ablation that are not finished, as one array job."""

    def __init__(self, output: Path, flags: Mapping[str, Any], at_once: int | None) -> None:
        """Take the folder of the ablation, flags, and how many runs may train at a time."""
        self.output, self.flags, self.at_once = output.resolve(), flags, at_once
        digest = hashlib.sha256(str(self.output).encode("utf-8", "surrogateescape")).hexdigest()
        self.name = f"mixseg-{re.sub(r'[^A-Za-z0-9.]+', '-', self.output.name)}-{digest[:8]}"
        self.script, self.list = self.output / "array.sh", self.output / "array.txt"
        self.advice = (
            f"the jobs stay in the queue; look: squeue --name={self.name}; cancel: scancel "
            f"--name={self.name}; the same command waits for them and shows the table"
        )
        for name in WORDS:  # a line break would end an #SBATCH line
            if not re.fullmatch(r"[!-~]*", flags[name] or ""):
                raise ConfigError(f"--slurm.{name} {flags[name]!r}: expected a single word")
        limit = re.fullmatch(r"(?:(\d{1,3})-)?(\d+):(\d\d):(\d\d)|(\d{1,7})", flags["time"])
        if limit is None:
            raise ConfigError("--slurm.time: expected minutes, HH:MM:SS or D-HH:MM:SS")
        days, hours, minutes, seconds, only = (int(part or 0) for part in limit.groups())
        self.minutes = only or 1440 * days + 60 * hours + minutes + (seconds + 59) // 60
        if 2 * flags["notice"] > 60 * self.minutes:
            raise ConfigError("--slurm.notice must be at most half of the limit --slurm.time")
        if shutil.which("sbatch") is None:
            raise ConfigError("--launcher slurm: there is no sbatch here")

    def submit(self, jobs: Sequence[Job], say: Callable[[str], None], *, dry: bool) -> None:
        """Submit what is not finished, or only write the script; one array at a time is queued."""
        from mixseg.ablation.checks import refuse_changes

        with closing(FolderLock(self.output)):  # two calls at once must not submit the same runs
            queued = self._queued()
            missing = [job for job in jobs if not job.done]
            said = "not submitted, since other runs of this ablation are in the queue"
            if missing and not queued:
                self._write(missing)
                command = ["sbatch", str(self.script)]
                said = f"to submit: {shell_line(command)}" if dry else _output_of(command).strip()
            for job in jobs:
                state = queued.get(job.folder.name)
                if state is not None and not job.done:
                    refuse_changes(job, job.preset, "is in the queue")
                    say(f"{job.title}: {state}, submitted before")
                else:
                    say(f"{job.title}: {'done before' if job.done else said}")

    def wait(self, jobs: Sequence[Job], say: Callable[[str], None]) -> Errors:
        """Wait until all runs have ended; returns why runs failed."""
        errors: Errors = {}
        waiting, pause = [job for job in jobs if not job.done], 1.0
        while waiting:
            time.sleep(pause)
            pause = min(30.0, 1.1 * pause)  # short runs are noticed soon, long ones ask seldom
            try:
                queued = self._queued()
            except MixsegError as error:
                say(f"{error}; asking again")
                continue
            gone = [job for job in waiting if job.folder.name not in queued]
            if not all(job.done for job in gone):
                time.sleep(pause)  # a network drive may show summaries late
            for job in gone:
                waiting.remove(job)
                if not job.done:
                    errors[job.row, job.seed] = _why(job)
                say(f"{job.title}: {errors.get((job.row, job.seed), 'done')}")
        return errors

    def _write(self, jobs: Sequence[Job]) -> None:
        lines = []
        for job in jobs:
            job.prepare()
            with job.log.open("a", encoding="utf-8") as log:
                log.write(f"{MARK}{time.strftime('%Y-%m-%d %H:%M:%S')}\n")
            command = f"{shell_line(job.command)} >>{shell_line([str(job.log.absolute())])} 2>&1"
            lines.append(f"{command} # {job.folder.name}\n")
        write_atomically(self.list, "".join(lines))
        options = {
            "job-name": self.name,
            "array": f"0-{len(jobs) - 1}" + ("" if self.at_once is None else f"%{self.at_once}"),
            "cpus-per-task": self.flags["cores"],
            "gpus-per-node": self.flags["gpus"] or None,
            "mem": self.flags["memory"] and f"{round(1024 * self.flags['memory'])}M",
            "time": self.minutes,
            "signal": f"USR2@{self.flags['notice']}",
            "output": "/dev/null",  # each run has a log of its own
        } | {name: self.flags[name] for name in WORDS}
        given = [f"--{name}={value}" for name, value in options.items() if value is not None]
        given.append("--requeue" if self.flags["requeue"] else "--no-requeue")
        text = SCRIPT.format(
            options="\n".join(f"#SBATCH {shlex.quote(option)}" for option in given),
            cores=self.flags["cores"],
            commands=shell_line([str(self.list)]),
            requeue=str(self.flags["requeue"]).lower(),
            terminated=EXIT_TERMINATED,
        )
        write_atomically(self.script, text)

    def _queued(self) -> dict[str, str]:
        """Name of a run's folder -> its state, for those that wait or train."""
        command = ["squeue", "--noheader", "--array", f"--name={self.name}", "--format=%K|%T %R"]
        tasks = [line.split("|", 1) for line in _output_of(command).splitlines()]
        runs = read_text(self.list).splitlines() if tasks else []
        return {runs[int(index)].rpartition(" # ")[2]: state.lower() for index, state in tasks}


def _why(job: Job) -> str:
    """Why a run has left the queue: the last error of SLURM in its log, else the last line."""
    lines = read_text(job.log, errors="replace").rpartition(MARK)[2].splitlines()[1:]
    moved = ("DUE TO JOB REQUEUE", "DUE TO PREEMPTION")
    own, ended = ["left the queue without a word; was it cancelled?"], []
    for line in lines:
        if not line.startswith(("srun:", "slurmstepd")):
            own += [line] if line.strip() else []
        elif line.startswith("slurmstepd") and not any(words in line for words in moved):
            ended.append(line.partition("error: ")[2].strip("* "))
    return [*own, *ended][-1][:ERROR_LENGTH]


def _output_of(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MixsegError(f"{command[0]} fails: {' '.join(done.stderr.split())}")
    return done.stdout
