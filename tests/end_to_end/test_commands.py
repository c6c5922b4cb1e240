"""The commands that people type, and those that the documents print."""

from __future__ import annotations

import math
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from mixseg.cli import COMMANDS
from mixseg.commands.inference import add_inference_arguments
from mixseg.commands.parsing import add_file_arguments, new_parser, parse
from mixseg.config.flags import SHORT_FLAGS, typed_overrides
from mixseg.config.schema import schema
from mixseg.errors import ConfigError
from tests.end_to_end.processes import REPOSITORY, Finished, Launcher, fresh, refused

README = REPOSITORY / "README.md"
EXTENDING = REPOSITORY / "docs" / "extending.md"
TRAIN = "pip install -e . && python tools/train_ssl.py --labeled 1/8"
TEST = "pip install -e '.[test]' && pytest"


@pytest.fixture
def mixseg(tmp_path: Path) -> Path:
    """What pip installs as ``mixseg``."""
    path = tmp_path / "mixseg"
    path.write_text("import sys\nfrom mixseg.cli import main\nsys.exit(main())\n")
    return path


def test_help(mixseg: Path, launch: Launcher, tmp_path: Path) -> None:
    done = launch(mixseg, "--help", cwd=tmp_path)
    assert done.code == 0, done.text
    for name, entry in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(entry.help)}$", done.out, re.MULTILINE)
    done = launch(mixseg, "--version", cwd=tmp_path)
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", done.out)


@pytest.mark.parametrize("command", ["ssl", "supervised"])
def test_help_lists_every_setting(
    command: str, mixseg: Path, launch: Launcher, tmp_path: Path
) -> None:
    done = launch(mixseg, command, "--help", cwd=tmp_path)
    assert done.code == 0, done.text
    words = set(re.findall(r"--[\w.-]+", done.out))
    assert {f"--{path}" for path in schema()} <= words
    assert {f"--{flag}" for flag in SHORT_FLAGS} <= words
    assert {"--config", "--set", "--resume", "--allow-changes"} <= words
    assert " at 0x" not in done.out  # types and defaults are named for people


@pytest.mark.parametrize("command", ["evaluate", "predict", "export", "make-demo", "profile"])
def test_help_of_the_others(command: str, mixseg: Path, launch: Launcher, tmp_path: Path) -> None:
    done = launch(mixseg, command, "--help", cwd=tmp_path)
    assert done.code == 0, done.text
    assert f"usage: mixseg {command}" in done.out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_there(name: str) -> None:
    assert callable(COMMANDS[name].load())


@pytest.mark.parametrize(
    ("name", "given", "missing"),
    [
        ("predict", [], {"checkpoint", "paths", "--output"}),
        ("predict", ["run", "photo.png"], {"--output"}),
        ("export", ["run"], {"--output"}),
        ("make-demo", [], {"--out"}),
        ("evaluate", [], {"checkpoint"}),
        ("ablate", [], {"grid"}),
        ("compare", [], {"runs"}),
    ],
)
def test_what_is_missing_is_named_as_it_is_typed(
    name: str, given: list[str], missing: set[str]
) -> None:
    with pytest.raises(ConfigError) as error:
        COMMANDS[name].load()(given)
    assert set(re.split(r"[ ,]+", str(error.value).partition(": ")[2])) == missing


def test_a_wrong_value_is_told_of_its_flag() -> None:
    parser = new_parser("program", "A program.")
    parser.add_argument("number", type=int)
    parser.add_argument("--batch-size", dest="batch_size", type=int)
    for arguments, start in ((["x"], "number: "), (["3", "--batch-size", "x"], "--batch-size: ")):
        with pytest.raises(ConfigError, match=f"^{start}"):
            parse(parser, arguments)


OWN_FLAGS = [name for name, entry in COMMANDS.items() if entry.module != "training"]


@pytest.mark.parametrize("name", OWN_FLAGS)
def test_every_number_has_a_documented_range(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither a missing range nor a value beyond one gets past the flags of a command."""
    command = COMMANDS[name].load()
    with pytest.raises(SystemExit):
        command(["--help"])
    settings_flags = {f"--{path}" for path in schema()}
    for entry in re.split(r"\n  (?=-)", capsys.readouterr().out)[1:]:
        text = " ".join(entry.split("\n\n")[0].split())
        flags = re.findall(r"--[\w.-]+", text.partition("(type:")[0])
        kind = re.search(r"\(type: ([^()]*)", text)
        if kind is None or settings_flags & {*flags}:
            continue
        flag = flags[0]
        assert not re.search(r"\b(int|float)\b", kind[1]), (
            f"{flag} has no range; give it type=FlagType({flag!r}, KIND, Range(LOW, HIGH))"
        )
        ends = re.search(r" from (\S+) to (?:below )?([^ ,]+)", kind[1])
        if ends is None:
            continue
        below = f"{float(ends[1]) - 1:.0f}"
        beyond = "9223372036854775808" if "^" in ends[2] else f"{float(ends[2]) * 2 + 1:.0f}"
        for value in (below, beyond, "nan", "inf", "1e999", "0x10"):
            with pytest.raises(ConfigError, match=f"{flag}: expected"):
                command([f"{flag}={value}"])


@pytest.mark.parametrize("text", ["0.5,2", "[0.5, 2]", "0.5, 2", "[0.5,2]", "0.5 2"])
def test_lists_are_typed_alike_everywhere(text: str) -> None:
    inference, training = new_parser("test", ""), new_parser("test", "")
    add_inference_arguments(inference)
    assert parse(inference, ["RUN", "--scales", text]).scales == (0.5, 2.0)
    add_file_arguments(training)
    parsed = parse(training, ["--data.scale", text], settings=True)
    assert typed_overrides(parsed, [f"mixing.sigma={text}"]) == {
        "data.scale": (0.5, 2.0),
        "mixing.sigma": (0.5, 2.0),
    }
    with pytest.raises(ConfigError):  # the range holds for lists as well
        typed_overrides(parsed, [f"schedule.momentum={text}"])


@pytest.mark.parametrize(
    "logits", [("--logits", "-1", "2"), ("--logits=-1,2",), ("--logits", "[-1, 2]")], ids=str
)
def test_lists_of_figures(
    logits: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    command = COMMANDS["figures"].load()
    assert command(["temperatures", *logits, "--temperatures=1", "--output", str(tmp_path)]) == 0
    numbers = (tmp_path / "temperatures.csv").read_text()
    expected = math.exp(2) / (math.exp(2) + math.exp(-1))
    found = [float(one) for one in re.findall(r"\d+\.\d+", numbers)]
    assert any(math.isclose(one, expected, abs_tol=1e-4) for one in found), numbers


def test_unknown_commands(mixseg: Path, launch: Launcher, tmp_path: Path) -> None:
    refused(launch(mixseg, "evalute", cwd=tmp_path), "Did you mean 'evaluate'?")
    refused(launch(mixseg, "benchmark", "ema", cwd=tmp_path), "python -m benchmarks")
    refused(launch(mixseg, "distill-cifar10", cwd=tmp_path), "examples/distill_cifar10.py")
    assert launch(mixseg, cwd=tmp_path).code == 2


def test_the_commands_are_the_tools(
    reference: tuple[Path, str], mixseg: Path, launch: Launcher, tmp_path: Path
) -> None:
    outputs = [
        launch(script, *arguments, reference[0], cwd=tmp_path)
        for script, arguments in ((mixseg, ["evaluate"]), ("evaluate", []))
    ]
    assert outputs[0] == outputs[1]
    assert outputs[0].code == 0


# Documents --------------------------------------------------------------------------------------


def test_the_readme_has_the_two_commands() -> None:
    lines = [line.strip() for line in README.read_text().splitlines()]
    assert TRAIN in lines
    assert TEST in lines


@pytest.mark.slow
def test_the_readmes_training_command(environment: dict[str, str], tmp_path: Path) -> None:
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
@pytest.mark.skipif(not EXTENDING.exists(), reason="docs/extending.md is not there")
def test_what_extending_shows_runs(
    environment: dict[str, str], config: Path, tmp_path: Path
) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", EXTENDING.read_text(), re.DOTALL | re.MULTILINE)
    assert blocks
    script = tmp_path / "extended.py"
    script.write_text("\n\n".join(blocks))
    done = fresh([script], tmp_path, environment)
    assert done.code == 0, done.text
    # As the document says, the new mixer trains.
    command = [script, "--config", config, "--mixer", "stripes", "--iterations", 2]
    done = fresh([*command, "--output", "out", "--name", "run"], tmp_path, environment)
    assert done.code == 0, done.text
    assert "mixer: stripes" in (tmp_path / "out" / "run" / "config.yaml").read_text()


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
            cwd=tmp_path,
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
    done = shell("ssl", "--config", config, "--output", "out", "--name", "run")
    assert done.code == 0 and done.err.startswith(kind), done.text
    assert (tmp_path / "out" / "run" / "summary.json").is_file()
    done = shell("evaluate", "out/run", "--json", "scores.json")
    assert done.code == code, done.text
    assert (tmp_path / "scores.json").is_file()
    assert done.err.startswith("error: standard output" if code == 1 else "")
