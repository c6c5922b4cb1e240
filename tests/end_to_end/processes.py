"""Commands as processes, and what they leave behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from mixseg.cli import COMMANDS
from mixseg.errors import ConfigError, MixsegError

REPOSITORY = Path(__file__).parents[2]
TOOLS = REPOSITORY / "tools"
TIMEOUT = 400.0
"""Seconds after which a process counts as hung, on a machine that is busy with much else."""
RUN = ("--output", "out", "--name", "run")
"""Arguments of a run in ``out/run``."""


@dataclass(frozen=True)
class Finished:
    """How a process ended; the code is negative for a signal, as in :mod:`subprocess`."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return f"exit code {self.code}\n{self.out}\n{self.err}"


class Running:
    """A command that was started."""

    def __init__(self, launcher: Launcher, pid: int, out: Path, err: Path) -> None:
        self.launcher = launcher
        self.pid = pid
        self.out = out
        self.err = err
        self.code: int | None = None

    def poll(self) -> int | None:
        if self.code is None:
            self.code = self.launcher.ask({"poll": self.pid})
        return self.code

    def wait(self, timeout: float = TIMEOUT) -> Finished:
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                os.killpg(self.pid, 9)
                raise AssertionError(f"hung for {timeout} s: {self.err.read_text()}")
            time.sleep(0.005)
        assert self.code is not None
        return Finished(self.code, _said(self.out), _said(self.err))

    def until(self, condition: Callable[[], object], timeout: float = TIMEOUT) -> None:
        """Wait for a moment of the run; fails if the process ends before."""
        deadline = time.monotonic() + timeout
        while not condition():
            if self.poll() is not None:
                raise AssertionError(f"ended too early: {self.wait().text}")
            assert time.monotonic() < deadline, "the moment did not come"
            time.sleep(0.0005)

    def kill(self, number: int, group: bool = False) -> None:
        """Send a signal to the process, or to its workers as well."""
        (os.killpg if group else os.kill)(self.pid, number)

    def killed_after(self, run: Path, step: int) -> None:
        """Kill it once its run has a checkpoint of a step."""
        self.until((run / "checkpoints" / f"step-{step:08d}").is_dir)
        self.kill(signal.SIGKILL)
        assert self.wait().code == -signal.SIGKILL

    def stop_all(self) -> None:
        """End it and its workers, whatever state they are in."""
        if self.poll() is None:
            os.killpg(self.pid, 9)
            self.wait()


def _said(path: Path) -> str:
    # A process may be killed before it has opened its output.
    return path.read_text(errors="surrogateescape") if path.is_file() else ""


class Launcher:
    """Starts tools and commands by forking an interpreter that is warm (``launcher.py``)."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = environment
        self.started: list[Running] = []
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("launcher.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )

    def ask(self, request: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(
        self, tool: str | Path, *arguments: object, cwd: Path | None = None, **extra: str
    ) -> Running:
        """Start ``tools/TOOL.py`` or a script, here or in a folder, with more environment."""
        script = tool if isinstance(tool, Path) else TOOLS / f"{tool}.py"
        number = len(self.started)
        out, err = self.folder / f"{number}.out", self.folder / f"{number}.err"
        pid = self.ask(
            {
                "command": [str(script), *map(str, arguments)],
                "cwd": str(cwd or Path.cwd()),
                "environment": self.environment | extra,
                "stdout": str(out),
                "stderr": str(err),
            }
        )
        self.started.append(Running(self, pid, out, err))
        return self.started[-1]

    def __call__(self, tool: str | Path, *arguments: object, **more: Any) -> Finished:
        """Run a tool to its end; arguments as in :meth:`start`."""
        return self.start(tool, *arguments, **more).wait()

    def ok(self, tool: str | Path, *arguments: object, **more: Any) -> Finished:
        """Run a tool to its end, which has to be a good one."""
        done = self(tool, *arguments, **more)
        assert done.code == 0, done.text
        return done

    def close(self) -> None:
        for process in self.started:
            process.stop_all()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)


def fresh(
    command: Sequence[object], cwd: Path, environment: dict[str, str], timeout: float = TIMEOUT
) -> Finished:
    """Run Python with arguments as a shell does, in an interpreter of its own."""
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


# What a run leaves behind -----------------------------------------------------------------------


def metrics(run: Path, without_time: bool = True) -> list[dict[str, Any]]:
    """The lines of ``metrics.jsonl``, by default without what a clock measured."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    if without_time:
        lines = [{k: v for k, v in line.items() if k != "seconds"} for line in lines]
    return lines


def state(checkpoint: Path) -> dict[str, Any]:
    """``state.json`` without the log's length and hash: it has times in it."""
    content = json.loads((checkpoint / "state.json").read_text())
    for name in ("metrics_offset", "metrics_sha256"):
        content.pop(name, None)
    return content


def assert_same_tensors(first: Path, second: Path) -> None:
    """All tensor files of two checkpoints are equal bit by bit."""
    files = sorted(path.name for path in first.glob("*.safetensors"))
    assert files == sorted(path.name for path in second.glob("*.safetensors"))
    for name in files:
        one, other = (safetensors.torch.load_file(path / name) for path in (first, second))
        assert one.keys() == other.keys()
        for key, tensor in one.items():
            # As bytes: equality of floats would let -0.0 pass for 0.0.
            assert tensor.dtype == other[key].dtype
            bits = tensor.contiguous().flatten().view(torch.uint8)
            assert torch.equal(bits, other[key].contiguous().flatten().view(torch.uint8)), (
                name,
                key,
            )


def assert_same_run(first: Path, second: Path, settings: bool = True) -> None:
    """Two runs computed the same: weights, optimizer, log and best scores, bit by bit.

    With ``settings`` those and the record of the data agree as well.
    """
    assert metrics(first) == metrics(second)
    names = sorted(path.name for path in (first / "checkpoints").iterdir())
    assert names == sorted(path.name for path in (second / "checkpoints").iterdir())
    for name in names:
        one, other = first / "checkpoints" / name, second / "checkpoints" / name
        if one.is_dir():
            assert_same_tensors(one, other)
            before, after = state(one), state(other)
            for name in () if settings else ("settings", "data", "records"):
                del before[name], after[name]
            assert before == after
    summaries = [json.loads((run / "summary.json").read_text()) for run in (first, second)]
    for key in ("step", "last", "best", "effective_batch", "precision"):
        assert summaries[0][key] == summaries[1][key]


def refused(done: Finished, *fragments: str, code: int = 2) -> None:
    """A command said what was wrong, on stderr and without a traceback."""
    assert done.code == code, done.text
    assert done.err.startswith("error: "), done.text
    assert "Traceback" not in done.text
    for fragment in fragments:
        assert fragment in done.err, f"{fragment!r} is missing in: {done.err}"


def refuses(command: str, *arguments: object, words: Sequence[str] = (), code: int = 2) -> None:
    """A command refuses its arguments in this process and folder, and writes no file there.

    Its message has all ``words``; its error is one of exit code ``code``.
    """
    before = files_below(Path.cwd())
    given = [str(one) for one in arguments]
    try:
        COMMANDS[command].load()(given)
    except MixsegError as error:
        assert code == (2 if isinstance(error, ConfigError) else 1), (given, error)
        missing = [word for word in words if word not in str(error)]
        assert not missing, (given, missing, str(error))
    else:
        pytest.fail(f"{command} takes {given}")
    assert files_below(Path.cwd()) <= before, given


def refuses_each(
    command: str, cases: Mapping[str, str], *common: object, code: int = 2, **paths: Path
) -> None:
    """The same for each line of arguments, after the ``common`` ones.

    ``cases`` maps a line to the words of its message; ``{NAME}`` in it stands for a path.
    """
    for line, words in cases.items():
        given = (word.format(**paths) for word in line.split())
        refuses(command, *common, *given, words=words.split(), code=code)


def files_below(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if not path.is_dir()}


def flip_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def tree(folder: Path) -> list[str]:
    """Everything below a folder, for comparing before and after."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# Several processes ------------------------------------------------------------------------------


def start_group(
    launch: Launcher, tool: str | Path, *arguments: object, cwd: Path | None = None, **extra: str
) -> list[Running]:
    """Two processes as ``torchrun`` starts them, without its agent, whose import takes seconds."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "test"} | extra
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [
        launch.start(tool, *arguments, cwd=cwd, RANK=rank, LOCAL_RANK=rank, **shared)
        for rank in ("0", "1")
    ]


def run_group(
    launch: Launcher, tool: str | Path, *arguments: object, **more: Any
) -> list[Finished]:
    """The same, waited for."""
    return [one.wait() for one in start_group(launch, tool, *arguments, **more)]


def group_ok(launch: Launcher, tool: str | Path, *arguments: object, **more: Any) -> list[Finished]:
    """The same, with a good end of both."""
    done = run_group(launch, tool, *arguments, **more)
    for process in done:
        assert process.code == 0, process.text
    return done
