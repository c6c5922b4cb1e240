"""Text for people: the one place that prints, and names escaped for whatever shows them.

Class names, file names, keys of weight files and messages of libraries come from elsewhere: in a
terminal, a table, a spreadsheet or a chart they are shown and must not act. A terminal may be gone,
its device full, its character set small: that is no reason to end a run. After :func:`guard` both
hold for whatever prints, libraries included.
"""

from __future__ import annotations

import contextlib
import errno
import html
import io
import logging
import os
import re
import shlex
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, final

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.segment import Segment
from rich.text import Text

EXIT_NOT_PRINTED = 1
EXIT_NO_READER = 128 + 13
"""What a shell says of a command that SIGPIPE has ended."""


@final
class _Terminal(Console):
    """A console that escapes the text of whatever is printed, but not its own colors.

    Strings, such as the cells of a table, are text: nothing in them is markup.
    """

    def render_str(self, text: str, **how: Any) -> Text:
        """See rich."""
        return super().render_str(printable(text), **how | {"markup": False, "emoji": False})

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """See rich."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(_lines(segment.text), segment.style)


def new_console(*, quiet: bool = False) -> Console:
    """The console of a command, on standard output; print on it with :func:`say` and :func:`show`.

    What the logger ``mixseg`` is told is printed on the latest one.
    """
    console = _Terminal(quiet=quiet)
    log = logging.getLogger("mixseg")
    log.setLevel(logging.INFO)
    for handler in [one for one in log.handlers if isinstance(one, _Messages)]:
        log.removeHandler(handler)
    log.addHandler(_Messages(console))
    return console


def say(console: Console, text: str, style: str | None = None) -> None:
    """Print one line of text as it is.

    No markup is read in it, no number colored, no long line broken; what is not printable,
    a line break included, is escaped.
    """
    console.print(Text(printable(text)), style=style, soft_wrap=True)


@final
class _Messages(logging.Handler):
    """Prints messages of the package on a console: warnings in yellow, errors in red."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.INFO)
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        """See logging."""
        style = {logging.WARNING: "yellow", logging.ERROR: "red"}.get(record.levelno)
        say(self.console, record.getMessage(), style)


def show(console: Console, table: RenderableType) -> None:
    """Print a table."""
    console.print(table)


@final
class Bar(Progress):
    """Rich's bar; what is printed on standard error meanwhile appears above it."""

    def __init__(self, console: Console, *columns: str | ProgressColumn) -> None:
        """Take columns; it is shown on terminals alone."""
        super().__init__(
            *columns, console=console, disable=not console.is_terminal, redirect_stdout=False
        )

    def start(self) -> None:
        """See rich."""
        super().start()
        guard()  # it has taken the place of standard error


@contextlib.contextmanager
def progress_bar(console: Console, title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar; gives a function of (done, total)."""
    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(console, *columns) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


QUIET_SECONDS = 20.0
"""Seconds between lines on the progress of a training where no bar is shown."""


@contextlib.contextmanager
def training_bar(console: Console) -> Iterator[Callable[[int, int, str], None]]:
    """A bar of training steps, or plain lines without a terminal.

    Gives a function of (steps done, all steps, note), which is first called before the first step.
    """
    bar = Bar(
        console,
        TextColumn("[bold]training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    task = bar.add_task("", total=None, note="")
    first, start, spoken = 0, 0.0, 0.0

    def update(done: int, total: int, note: str) -> None:
        nonlocal first, start, spoken
        now = time.monotonic()
        if not bar.tasks[0].total:
            first, start, spoken = done, now, now
            bar.start()
        bar.update(task, completed=done, total=total, note=note)
        if not console.is_terminal and now - spoken >= QUIET_SECONDS:
            spoken = now
            left = (now - start) / max(1, done - first) * (total - done)
            say(console, f"step {done}/{total}  {note}  {left / 60:.1f} min left")

    try:
        yield update
    finally:
        bar.stop()


def complain(text: str) -> None:
    """Print one line on standard error; what is not printable is escaped."""
    if sys.stderr is not None:  # there is none if whoever started this process has closed it
        print(printable(text), file=sys.stderr, flush=True)


def guard() -> None:
    """Let nothing that this process prints end it or act on the terminal.

    May be called again, and is where something else has taken the place of a stream.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # closed: the next file would get its number, and messages with it
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or isinstance(stream, _Stream):
            continue
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
        setattr(sys, name, _Stream(stream))
    # Pillow's doubts about files: what cannot be used is an error of mixseg, which names the file.
    warnings.filterwarnings("ignore", module=r"PIL\.", append=True)
    # torch's advice on the number of loader processes: the user has chosen it.
    warnings.filterwarnings("ignore", message="This DataLoader will create", append=True)
    # Python colors its tracebacks and its usage lines from 3.13 on; all of it would be escaped.
    os.environ["PYTHON_COLORS"] = "0"


def exit_code(code: int, *, printed: bool) -> int:
    """The exit code of a command, whose output may not have arrived.

    Args:
        code: If all of it has.
        printed: Whether the output is the result. Where files are, losing it is no failure.
    """
    _, failure = (
        stream.failed() if isinstance(stream, _Stream) else None
        for stream in (sys.stderr, sys.stdout)
    )
    if failure is None:
        return code
    if failure.errno == errno.EPIPE:  # as with `| head`: whoever has read enough wants no message
        return code or (EXIT_NO_READER if printed else 0)
    what = "error: standard output" if printed else "note: standard output"
    lost = "not all of the result was printed" if printed else "the files hold all results"
    complain(f"{what}: {failure.strerror or failure}: {lost}")
    return code or (EXIT_NOT_PRINTED if printed else 0)


class _Stream:
    """A text stream whose errors are remembered, not raised, and whose text is escaped."""

    def __init__(self, stream: Any, *, escapes: bool = True) -> None:
        self._stream = stream
        self._escapes = escapes
        self._failure: OSError | None = None
        # Rich writes here: its text is escaped already, and the sequences left are its own.
        self.rich_proxied_file = _Stream(stream, escapes=False) if escapes else self

    def write(self, text: str) -> int:
        """Write; what does not arrive is lost."""
        with self._remembered():
            # Progress bars of libraries begin with the one, and overwrite nothing but themselves.
            start = "\r" if text.startswith("\r") else ""
            self._stream.write(start + _lines(text.removeprefix(start)) if self._escapes else text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write them all."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush; what does not arrive is lost."""
        with self._remembered():
            self._stream.flush()

    def failed(self) -> OSError | None:
        """Why something did not arrive; the interpreter does not try again when it exits."""
        self.flush()
        failure: OSError | None = self._failure or self.rich_proxied_file._failure
        if failure is not None:
            with contextlib.suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)
        return failure

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _remembered(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._failure = error
        except ValueError:  # closed by somebody
            pass


def _lines(text: str) -> str:
    """A text of several lines, each of them printable but for tabs."""
    if text.isprintable():
        return text
    return "\n".join("\t".join(map(printable, line.split("\t"))) for line in text.split("\n"))


# Escaping -----------------------------------------------------------------------------------------


def printable(text: str) -> str:
    """For terminals and pictures: control, direction and other invisible characters as escapes."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def without_middle(text: str, kept: int) -> str:
    """The first and last characters, ``kept`` in all."""
    return f"{text[: (kept + 1) // 2]}...{text[len(text) - kept // 2 :]}"


def shell_line(words: Iterable[str]) -> str:
    """A command that people copy: bash reads it back to these words, and nothing in them acts."""

    def quoted(word: str) -> str:
        if word.isprintable():
            return shlex.quote(word)
        chars = (
            re.sub(r"(['\\])", r"\\\1", char)
            if char.isprintable()
            else "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape"))
            for char in word
        )
        return f"$'{''.join(chars)}'"

    return " ".join(map(quoted, words))


def markdown_cell(text: str) -> str:
    """For a cell of a Markdown table: neither Markdown nor HTML in it has an effect."""
    escaped = html.escape(printable(text), quote=False)
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", escaped)


def csv_cell(text: str) -> str:
    """For a cell of a CSV file: a spreadsheet does not take it for a formula."""
    shown = printable(text)
    return f"'{shown}" if shown.startswith(("=", "+", "-", "@")) else shown


def chart_text(text: str) -> str:
    """For a chart: no dollar sign starts a formula, and no leading underscore hides an entry."""
    return printable(text).replace("$", r"\$").lstrip("_") or "-"
