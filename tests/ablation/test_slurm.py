"""Batch scripts, run by bash where SLURM's programs only write down what they are given."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from mixseg.ablation import Job, SlurmCluster, SlurmSettings
from mixseg.ablation.cluster import Task
from mixseg.config.resolve import resolve_settings
from mixseg.errors import ConfigError
from mixseg.escaping import shell_line

ACTS = (
    "a\ntouch ACTED #",
    "a\n#SBATCH --uid=0",
    "a\rtouch ACTED",
    "a\u2028touch ACTED",
    "a\udcfftouch",
    "%j",
    "back\\slash",
    "'\ntouch ACTED\n'",
    "$(touch ACTED)",
    "`touch ACTED`",
    "; touch ACTED;",
    "&& touch ACTED",
    "| touch ACTED",
    "'; touch ACTED; '",
    '"; touch ACTED; "',
    "> ACTED",
    "--wrap=touch ACTED",
    "${ACTED:=1} * ~ {a,b} !!",
    "it's a «folder» of 道",
)
"""Words that a shell or SLURM would act on if they were not quoted, and an innocent one."""

STUB = '#!/bin/sh\nfor word in "$0" "$@"; do printf "%s\\0" "$word"; done >>"$WRITTEN"\n'


@pytest.fixture
def stubs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with SLURM's programs; ``sbatch`` keeps the script."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("srun", "scontrol", "squeue"):
        (folder / name).write_text(STUB)
    (folder / "sbatch").write_text('#!/bin/sh\ncp "$1" "$SCRIPT" && echo Submitted batch job 7\n')
    for one in folder.iterdir():
        one.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("SCRIPT", str(tmp_path / "script"))
    return folder


def submitted(cluster: SlurmCluster, tmp_path: Path, folder: Path, name: str) -> list[str]:
    """Words that ``srun`` gets when the script of a job runs; nothing else of it may have run."""
    task = Task(tmp_path / "log", ("python", "-c", "pass\ntouch ACTED"))
    cluster.submit(folder, name, [task, task])
    written, cwd = tmp_path / "written", tmp_path / "cwd"
    written.unlink(missing_ok=True)
    cwd.mkdir(exist_ok=True)
    done = subprocess.run(
        ["bash", str(tmp_path / "script")],
        cwd=cwd,
        env=os.environ | {"WRITTEN": str(written)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(cwd.iterdir()) == []
    words = written.read_bytes().decode().split("\0")
    assert Path(words[0]).name == "srun" and words.count(words[0]) == 1
    # What SLURM itself reads: nothing but flags of ours.
    head = (tmp_path / "script").read_text().partition("\n# setup\n")[0]
    flags = re.findall(r"^#SBATCH --([a-z-]+)", head, re.MULTILINE)
    assert len(head.split("\n")) == len(flags) + 4
    assert not {"uid", "wrap"} & set(flags)
    return words


@pytest.mark.parametrize("word", ACTS)
def test_no_word_of_a_batch_script_acts(
    word: str, stubs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed = 0
    for name in ("partition", "account", "qos", "constraint", "time"):
        try:
            settings = SlurmSettings(**{name: word})
        except ConfigError:
            continue
        cluster = SlurmCluster(settings, tmp_path, 1)
        submitted(cluster, tmp_path, tmp_path / "submissions" / "job", "job")
        allowed += 1
    quiet = SlurmCluster(SlurmSettings(), tmp_path, None)
    with pytest.raises(ConfigError, match="name of the job"):
        quiet.submit(tmp_path, f"{word} ", [Task(tmp_path / "log", ("true",))])

    folder = tmp_path / word.replace("/", "-")
    try:
        cluster = SlurmCluster(SlurmSettings(), folder, 1)
    except ConfigError:
        with pytest.raises(ConfigError, match="--output"):
            quiet.submit(folder, "job", [Task(tmp_path / "log", ("true",))])
    else:
        words = submitted(cluster, tmp_path, folder / "submissions", "job")
        assert str(folder / "submissions") in words
        allowed += 1
    assert allowed or not word.isprintable() or re.search(r"[%\\]", word)

    # Where Python itself lies is quoted: it stands in a line of commands.
    python = f"/opt/{word}/python".encode("utf-8", "replace").decode()
    monkeypatch.setattr(sys, "executable", python)
    assert python in submitted(quiet, tmp_path, tmp_path / "submissions", "job")


@pytest.mark.parametrize("word", ACTS)
def test_a_command_of_a_dry_run_is_that_of_its_run(word: str, tmp_path: Path) -> None:
    settings = resolve_settings([], {"data.root": word, "model.weights": word})
    job = Job("row", 0, tmp_path / word.replace("/", "-") / "row-seed0", settings)
    job.prepare()
    assert resolve_settings([job.preset], {}) == settings
    line = shell_line(job.command)
    assert line.isprintable()
    script = f"cd {shlex.quote(str(tmp_path))}; printf '%s\\0' {line}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=True)
    assert done.stdout == b"".join(os.fsencode(one) + b"\0" for one in job.command)
    assert not (tmp_path / "ACTED").exists()
