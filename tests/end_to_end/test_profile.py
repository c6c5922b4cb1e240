"""``tools/profile_model.py`` as a person runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mixseg.errors import ConfigError
from tests.end_to_end.processes import Launcher, refused_here


@pytest.mark.parametrize(("images", "expected"), [(None, 3), (10582, 10582)])
def test_a_preset(
    images: int | None, expected: int, launch: Launcher, config: Path, tmp_path: Path
) -> None:
    given = () if images is None else ("--images", images)
    cache = {} if images is None else {"MIXSEG_CACHE": str(tmp_path / "cache")}
    done = launch(
        "profile_model",
        *("--config", config, "--steps", 2, "--json", "costs.json", *given),
        cwd=tmp_path,
        **cache,
    )
    assert done.code == 0, done.text
    content = json.loads((tmp_path / "costs.json").read_text())
    assert (content["labeled_images"], content["measured_steps"]) == (expected, 2)
    assert content["sizes"] == {"labeled": [64, 128], "unlabeled": [64, 128]}
    (step,) = content["training"]
    assert step["steps_per_epoch"] == -(-expected // 2)
    assert f"{step['seconds']:.4f}" in done.out
    for part in content["networks"]:
        assert part["name"] in done.out and f"{part['parameters'] / 1e6:.3f}" in done.out
    # Nothing is left behind; with a number of images not even scenes are drawn.
    assert [path.name for path in tmp_path.iterdir()] == ["costs.json"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--steps 0", "--steps: expected"),
        ("--images -1", "--images: expected"),
        ("--json nowhere/costs.json", "--json nowhere/costs.json"),
        ("--dataset cityscapes", "cityscapes.*--images N"),
        ("--dataset cityscapes --images 5", r"data\.crop"),
        ("--dataset folder --images 5", "folder"),
        ("--method self_training", "unknown method"),
    ],
)
def test_refused(arguments: str, message: str, config: Path) -> None:
    words = ("--config", config, *arguments.split())
    refused_here("profile", *words, error=ConfigError, match=message)
