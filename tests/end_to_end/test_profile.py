"""``tools/profile_model.py`` as a person runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.end_to_end.processes import Launcher, refuses_each


@pytest.mark.parametrize(("given", "images"), [((), 3), (("--images", 10582), 10582)])
def test_a_preset(
    given: tuple[object, ...], images: int, launch: Launcher, config: Path, tmp_path: Path
) -> None:
    cache = {"MIXSEG_CACHE": str(tmp_path / "cache")} if given else {}
    flags = ("--config", config, "--steps", 2, "--json", "costs.json", *given)
    done = launch.ok("profile_model", *flags, **cache)
    content = json.loads((tmp_path / "costs.json").read_text())
    assert (content["labeled_images"], content["measured_steps"]) == (images, 2)
    assert content["sizes"] == {"labeled": [64, 128], "unlabeled": [64, 128]}
    (step,) = content["training"]
    assert step["steps_per_epoch"] == -(-images // 2)
    assert f"{step['seconds']:.4f}" in done.out
    for part in content["networks"]:
        assert part["name"] in done.out and f"{part['parameters'] / 1e6:.3f}" in done.out
    # Nothing is left behind; with a number of images not even scenes are drawn.
    assert [path.name for path in tmp_path.iterdir()] == ["costs.json"]


def test_refused(config: Path) -> None:
    cases = {
        "--steps 0": "--steps",
        "--images -1": "--images",
        "--json nowhere/costs.json": "nowhere/costs.json",
        "--dataset cityscapes": "cityscapes --images",
        "--dataset cityscapes --images 5": "data.crop",
        "--dataset folder --images 5": "folder",
        "--method self_training": "'self_training'",
    }
    refuses_each("profile", cases, "--config", config)
