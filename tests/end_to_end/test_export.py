"""tools/export.py on the run of the session; its file runs without mixseg."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from mixseg.data.cityscapes import CITYSCAPES
from mixseg.training.saved_network import load_networks
from tests.data.layouts import write_image
from tests.end_to_end.processes import REPOSITORY, Launcher, fresh, refuses, refuses_each, tree

WITHOUT_MIXSEG = """
import sys
sys.modules["mixseg"] = None  # importing it fails
import torch
program = torch.export.load("network.pt2", extra_files=(extra := {"mixseg.json": ""})).module()
torch.save(program(torch.load("images.pt")), "logits.pt")
assert extra["mixseg.json"] == open("network.pt2.json").read()
"""
DOCUMENT = REPOSITORY / "docs/export.md"


@pytest.fixture(scope="module")
def exported(reference: Path, launch: Launcher, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an exported teacher."""
    folder = tmp_path_factory.mktemp("exported")
    given = (reference, "--output", "network.pt2", "--size", "40x72")
    done = launch.ok("export", *given, cwd=folder)
    difference = re.search(r"differ by at most (\S+) ", done.out)
    assert difference is not None and float(difference[1]) < 1e-4
    assert tree(folder) == ["network.pt2", "network.pt2.json"]
    return folder


@pytest.mark.slow
def test_the_file_runs_without_mixseg_and_says_what_it_is(
    exported: Path, reference: Path, environment: dict[str, str]
) -> None:
    images = torch.rand(3, 3, 40, 72)
    torch.save(images, exported / "images.pt")
    script = exported / "use.py"
    script.write_text(WITHOUT_MIXSEG)
    done = fresh([script], exported, environment)
    assert done.code == 0, done.text
    with torch.no_grad():
        expected = load_networks(reference, "teacher").networks["teacher"](images)
    found = torch.load(exported / "logits.pt")
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)

    about = json.loads((exported / "network.pt2.json").read_text())
    assert about["classes"]["names"] == [*CITYSCAPES.names]
    assert about["classes"]["palette"] == [[*color] for color in CITYSCAPES.palette]
    assert (about["input"]["size"], about["input"]["range"]) == ([40, 72], [0.0, 1.0])
    assert (about["network"], about["step"], about["run"]) == ("teacher", 8, "run")


def test_nothing_is_overwritten_unasked(reference: Path, launch: Launcher, tmp_path: Path) -> None:
    given = (reference, "--network", "student", "--size", "40x72", "--output", "other.pt2")
    # Neither the file nor its description.
    for name in ("other.pt2", "other.pt2.json"):
        (tmp_path / name).write_text("mine")
        refuses("export", *given, words=[name, "--overwrite"])
        (tmp_path / name).unlink()
    (tmp_path / "other.pt2").write_text("mine")
    launch.ok("export", *given, "--overwrite")
    assert json.loads((tmp_path / "other.pt2.json").read_text())["network"] == "student"


def test_refusals(reference: Path) -> None:
    cases = {
        "--output a.pt2": "--size HEIGHTxWIDTH",
        "--output a.pt2 --size big": "--size",
        "--output a.pt2 --size 64x64 --format onx": "'onnx'",
        "--output a.pt2 --size 64x64 --format onnx": "a.pt2 torch-exp",
        "--output a.bin --size 64x64": "a.bin",
        "--output no/a.pt2 --size 64x64": "no/a.pt2",
    }
    refuses_each("export", cases, reference)
    refuses("export", "nowhere", "--output", "a.pt2", "--size", "64x64", words=["nowhere"], code=1)


@pytest.mark.slow
def test_what_the_document_shows_runs(
    exported: Path, reference: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 2
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/NAME").symlink_to(reference)
    for name in ("network.pt2", "network.pt2.json"):
        (tmp_path / name).symlink_to(exported / name)
    write_image(tmp_path / "street.png", size=(50, 90))
    script = tmp_path / "use.py"
    script.write_text("\n\n".join(blocks))
    done = fresh([script], tmp_path, environment)
    assert done.code == 0, done.text
    assert (tmp_path / "street_overlay.png").is_file()
    assert "road" in done.out
