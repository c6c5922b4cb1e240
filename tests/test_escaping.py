"""Names from data must not act on what they are shown in."""

from __future__ import annotations

import csv
import io
from html.parser import HTMLParser

from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.mathtext import MathTextParser

from mixseg.terminal import chart_text, csv_cell, markdown_cell, printable


@given(st.text(max_size=40))
@settings(max_examples=50, deadline=None)
def test_printable_text_is_printable(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    if text.isprintable():
        assert shown == text
    assert printable("a\x1b[31m\n\u202eb") == r"a\x1b[31m\n\u202eb"
    assert printable("Straße 道 [red]") == "Straße 道 [red]"


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)


@given(st.text(alphabet="<>&a/|\n\\`*[", max_size=30))
@settings(max_examples=100, deadline=None)
def test_a_markdown_cell_holds_no_tag_and_ends_no_cell(text: str) -> None:
    cell = markdown_cell(text)
    parser = Tags()
    parser.feed(cell)
    assert parser.seen == []
    assert "\n" not in cell
    assert "|" not in cell.replace("\\\\", "").replace(r"\|", "")


def test_a_csv_cell_is_no_formula_and_comes_back() -> None:
    for name in ("=1+1", "+A1", "-A1", "@SUM(A1)", "road, wet", 'a "b"'):
        content = io.StringIO()
        csv.writer(content).writerow([csv_cell(name), 1])
        (line,) = csv.reader(io.StringIO(content.getvalue()))
        assert line[0].removeprefix("'") == name
        assert not line[0].startswith(("=", "+", "-", "@"))


def test_chart_text_is_no_formula_and_not_hidden() -> None:
    for name in (r"$\frac{$", "a$b$c", "__hidden", "_"):
        shown = chart_text(name)
        assert not shown.startswith("_")
        MathTextParser("agg").parse(shown)  # fails on a formula that is none
