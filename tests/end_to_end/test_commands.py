"""The commands that people type, and those that the documents print."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from mixseg.cli import COMMANDS
from mixseg.config.flags import SHORT_FLAGS
from mixseg.config.schema import schema
from tests.end_to_end.processes import REPOSITORY, RUN, Finished, Launcher, fresh, refused

README = REPOSITORY / "README.md"
TRAIN = "pip install -e . && python tools/train_ssl.py --labeled 1/8"
TEST = "pip install -e '.[test]' && pytest"


@pytest.fixture
def mixseg(tmp_path: Path) -> Path:
    """What pip installs as ``mixseg``."""
    path = tmp_path / "mixseg"
    path.write_text("import sys\nfrom mixseg.cli import main\nsys.exit(main())\n")
    return path


def test_help(mixseg: Path, launch: Launcher) -> None:
    done = launch.ok(mixseg, "--help")
    for name, entry in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(entry.help)}$", done.out, re.MULTILINE)
    done = launch(mixseg, "--version")
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", done.out)


@pytest.mark.parametrize("command", ["ssl", "supervised"])
def test_help_lists_every_setting(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        COMMANDS[command].load()(["--help"])
    words = set(re.findall(r"--[\w.-]+", capsys.readouterr().out))
    assert {f"--{path}" for path in schema() if path != "imports"} <= words
    assert {f"--{flag}" for flag in SHORT_FLAGS} <= words
    assert {"--config", "--set", "--resume", "--allow-changes"} <= words


def test_unknown_commands(mixseg: Path, launch: Launcher) -> None:
    refused(launch(mixseg, "evalute"), "Did you mean 'evaluate'?")
    refused(launch(mixseg, "benchmark", "ema"), "python -m benchmarks")
    refused(launch(mixseg, "distill-cifar10"), "examples/distill_cifar10.py")
    assert launch(mixseg).code == 2


def test_the_commands_are_the_tools(reference: Path, mixseg: Path, launch: Launcher) -> None:
    command, tool = launch.ok(mixseg, "evaluate", reference), launch.ok("evaluate", reference)
    assert command == tool


# Documents --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_readmes_training_command(environment: dict[str, str], tmp_path: Path) -> None:
    lines = [line.strip() for line in README.read_text().splitlines()]
    assert TRAIN in lines and TEST in lines
    _, _, training = TRAIN.partition(" && ")
    program, script, *arguments = shlex.split(training)
    assert program == "python"
    command = [REPOSITORY / script, *arguments, "--iterations", 3, "--output", tmp_path]
    done = fresh(command, REPOSITORY, environment, timeout=300)
    assert done.code == 0, done.text
    for counted in ("30 labeled", "210 unlabeled", "60 validation"):
        assert f": {counted} images" in done.out
    assert "mIoU" in done.out


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("redirected", [">/dev/full", "| true", ">&-"])
def test_training_goes_on_when_nobody_listens_and_an_evaluation_says_so(
    redirected: str, config: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    def shell(*arguments: object) -> Finished:
        command = shlex.join([sys.executable, "-m", "mixseg", *map(str, arguments)])
        # The code of the command itself, also where something follows in a pipe.
        line = f"({command}; echo code $? >&2) {redirected}"
        done = subprocess.run(
            ["sh", "-c", line],
            env=environment | {"PYTHONIOENCODING": "ascii"},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert "Traceback" not in done.stderr and "Exception" not in done.stderr, done.stderr
        *lines, code = done.stderr.splitlines()
        return Finished(int(code.removeprefix("code ")), done.stdout, "\n".join(lines))

    kind, code = {">/dev/full": ("note: ", 1), "| true": ("", 141), ">&-": ("", 0)}[redirected]
    done = shell("ssl", "--config", config, *RUN)
    assert done.code == 0 and done.err.startswith(kind), done.text
    assert (tmp_path / "out" / "run" / "summary.json").is_file()
    done = shell("evaluate", "out/run", "--json", "scores.json")
    assert done.code == code, done.text
    assert (tmp_path / "scores.json").is_file()
    assert done.err.startswith("error: standard output" if code == 1 else "")
