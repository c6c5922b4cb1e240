"""What docs/python.md shows, run as it stands."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

import mixseg
from mixseg.errors import ConfigError, MixsegError

PAGE = Path(__file__).parents[1] / "docs" / "python.md"
SMALL = {
    "demo.train_images": 16,
    "demo.val_images": 2,
    "demo.size": (64, 64),
    "data.workers": 0,
    "training.precision": "fp32",
}


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # Scenes that are drawn in a moment; what the page says stays as it is.
    train = mixseg.train
    monkeypatch.setattr(
        mixseg,
        "train",
        lambda *words, settings=None, **given: train(
            *words, settings={**SMALL, **(settings or {})}, **given
        ),
        raising=False,
    )
    monkeypatch.setattr(logging, "basicConfig", lambda **how: None)
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), names)
    assert names["ids"].shape == (96, 128)  # type: ignore[attr-defined]
    assert names["own"].scores["teacher"].miou > 0.4  # type: ignore[attr-defined]
    assert names["run"].outcome.step == 6  # type: ignore[attr-defined]
    own = names["own"]
    again = own.resume(iterations=24)  # type: ignore[attr-defined]
    assert again.outcome.step == 24
    # Another process would have to hand in the objects again.
    with pytest.raises(ConfigError, match="network"):
        mixseg.resume("runs/own")
    with pytest.raises(MixsegError, match="network"):
        mixseg.load("runs/own")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"mixr": "classmix"}, "mixer"),
        ({"mixer": "clasmix"}, "classmix"),
        ({"settings": {"optimizer.l": 1}}, "optimizer.lr"),
        ({"dataset": [], "classes": ["a"]}, "dataset"),
        ({"dataset": [(0, 0)]}, "classes"),
        ({"iterations": object()}, "iterations"),
    ],
)
def test_wrong_calls_name_what_is_wrong(given: dict[str, object], named: str) -> None:
    with pytest.raises(MixsegError, match=named):
        mixseg.train("ssl", **given)  # type: ignore[arg-type]


def test_it_prints_nothing_by_itself(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging.getLogger("mixseg"), "handlers", [])  # those of commands
    mixseg.train("supervised", iterations=1, output="runs", settings=SMALL)
    assert capfd.readouterr() == ("", "")
