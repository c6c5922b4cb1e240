"""Nothing that is printed acts on a terminal, and no terminal ends a command."""

from __future__ import annotations

import ast
import os
import pty
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from mixseg.data.images import image_size
from mixseg.terminal import complain, guard, new_console, say, show
from tests.data.png_encoder import png_file

ROOT = Path(__file__).parent.parent
HOSTILE = "a\x1b[2Jb\x1b]0;owned\x07\r\u202e\x9b31m[red]x[/red]:smile:\udcff"
SHOWN = r"a\x1b[2Jb\x1b]0;owned\x07\r\u202e\x9b31m[red]x[/red]:smile:\udcff"
FULL = Path("/dev/full")


# One way to print -------------------------------------------------------------------------------


def printing(tree: ast.AST) -> Iterator[str]:
    """Code that prints by itself."""
    streams = ("stdout", "stderr", "__stdout__", "__stderr__")
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = node.func
            name = getattr(function, "id", "") or getattr(function, "attr", "")
            if name in ("print", "print_exc", "pprint", "Console", "Progress", "input"):
                yield ast.unparse(node)
        elif getattr(node, "attr", "") in streams and ast.unparse(node).startswith("sys."):
            yield ast.unparse(node)


def test_nothing_prints_around_the_one_module() -> None:
    found = {
        path.relative_to(ROOT).as_posix(): list(
            printing(ast.parse(path.read_text(encoding="utf-8")))
        )
        for folder in ("mixseg", "tools")
        for path in (ROOT / folder).rglob("*.py")
    }
    assert found.pop("mixseg/terminal.py")
    # A process that no person reads: its one line of JSON is for the process that started it.
    assert len(found.pop("mixseg/analysis/noise.py")) == 1
    assert {file: calls for file, calls in found.items() if calls} == {}


# What is printed is text ------------------------------------------------------------------------


def everything_printed(text: str) -> None:
    console = new_console()
    table = Table(text, title=text, caption=text)
    table.add_row(text)
    table.add_row(Text(text))
    show(console, table)
    show(console, Text(text))
    say(console, text, "red")
    complain(text)
    guard()
    print(text)
    print(text, file=sys.stderr)
    warnings.warn(text, stacklevel=1)


@given(st.text(st.characters(), min_size=1, max_size=20).filter(lambda text: text[0] != "\r"))
@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_is_printed_is_printable(capsys: pytest.CaptureFixture[str], text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_: print(message, file=sys.stderr)
        everything_printed(text)
    for printed in capsys.readouterr():
        assert printed.replace("\n", "").replace("\t", "").isprintable()


def test_a_hostile_name_is_shown_in_full(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    say(new_console(), HOSTILE)
    complain(f"{HOSTILE}\nerror: another")
    table = Table(HOSTILE, title=HOSTILE)
    table.add_row(HOSTILE)
    show(new_console(), table)
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == SHOWN
    assert err == SHOWN + r"\nerror: another" + "\n"
    assert out.count(SHOWN) == 4
    assert len({len(line) for line in out.splitlines()[2:]}) == 1, "the table keeps its shape"


def test_what_pillow_thinks_of_a_file_is_not_said(tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    large.write_bytes(png_file(9500, 9500, 8, 2, bytes(100)))  # Pillow warns, mixseg reads it
    with warnings.catch_warnings(record=True) as caught:
        warnings.resetwarnings()
        guard()
        assert image_size(large) == (9500, 9500)
        assert caught == []
        warnings.warn("of others", stacklevel=1)
        assert len(caught) == 1


# A terminal that is not there -------------------------------------------------------------------

PROGRAM = textwrap.dedent(
    """
    import sys
    from rich.table import Table
    from mixseg.terminal import complain, exit_code, guard, new_console, say, show

    guard()
    console = new_console()
    table = Table(title="Maße")
    table.add_row("Straße", "道")
    sys.stdin.read()
    for _ in range(2000):
        say(console, "a line")
    show(console, table)
    print("\u2013 end")
    complain("on standard error: ü")
    sys.exit(exit_code(int(sys.argv[2]), printed=sys.argv[1] == "printed"))
    """
)


def start(*arguments: object, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
        [sys.executable, "-c", PROGRAM, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stderr=options.pop("stderr", subprocess.PIPE),
        text=True,
        encoding="utf-8",
        cwd=ROOT,
        **options,
    )


def test_the_reader_goes_away() -> None:
    processes = []
    for printed, code, expected in (("printed", 0, 141), ("files", 0, 0), ("printed", 2, 2)):
        reading, writing = os.pipe()
        processes.append((start(printed, code, stdout=writing), expected))
        os.close(writing)
        os.close(reading)
    for process, expected in processes:
        _, err = process.communicate(timeout=300)
        assert (process.returncode, err) == (expected, "on standard error: ü\n")


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
def test_the_device_is_full_or_closed() -> None:
    cases = (("printed", 0, 1, "error"), ("files", 0, 0, "note"), ("files", 143, 143, "note"))
    with FULL.open("w") as full:
        processes = [(start(*case[:2], stdout=full), *case[2:]) for case in cases]
        both = start("files", 0, stdout=full, stderr=full)
    closed = start("printed", 0, preexec_fn=lambda: os.closerange(1, 3))
    for process, expected, kind in processes:
        _, err = process.communicate(timeout=300)
        first, line = err.splitlines()
        assert process.returncode == expected
        assert first == "on standard error: ü"
        assert line.startswith(f"{kind}: standard output: ")
    for process in (both, closed):
        process.communicate(timeout=300)
        assert process.returncode == 0


def test_characters_that_a_terminal_does_not_have() -> None:
    environment = dict(os.environ) | {"COLUMNS": "80"}
    for encoding in ("ascii:strict", "latin-1"):
        own = environment | {"PYTHONIOENCODING": encoding}
        process = start("printed", 0, stdout=subprocess.PIPE, env=own)
        assert process.stdin is not None and process.stdout is not None
        process.stdin.close()
        out = process.stdout.buffer.read().decode("latin-1")
        assert process.wait(60) == 0
        assert r"\u9053" in out and out.endswith("\\u2013 end\n")


def test_a_terminal_gets_the_colors_of_a_console_and_no_others() -> None:
    leader, follower = pty.openpty()
    code = textwrap.dedent(
        f"""
        import sys, warnings
        from mixseg.terminal import complain, guard, new_console, progress_bar, say
        guard()
        with progress_bar(new_console(), "work") as advance:
            advance(1, 2)
            complain("above")
            print({HOSTILE!r}, file=sys.stderr)
        say(new_console(), {HOSTILE!r}, "red")
        """
    )
    environment = dict(os.environ) | {"TERM": "xterm", "COLUMNS": "200", "LINES": "40"}
    for name in ("NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        environment.pop(name, None)
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.DEVNULL,
        stdout=follower,
        stderr=follower,
        env=environment,
        cwd=ROOT,
    )
    os.close(follower)
    received = b""
    while True:
        try:
            more = os.read(leader, 65536)
        except OSError:  # the other end is closed
            break
        if not more:
            break
        received += more
    os.close(leader)
    assert process.wait(60) == 0
    text = received.decode()
    assert f"\x1b[31m{SHOWN}\x1b[0m" in text
    assert text.count(SHOWN) == 2
    assert "\x1b[2J" not in text and "\x1b]" not in text and "owned\x07" not in text
    assert "\nabove" in text or text.startswith("above") or "\x1b[2Kabove" in text
