"""tools/export.py on the run of the session; its file runs without mixseg."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from mixseg.data.cityscapes import CITYSCAPES
from mixseg.errors import CheckpointError, ConfigError
from mixseg.training.saved_network import load_networks
from tests.data.layouts import write_image
from tests.end_to_end.processes import REPOSITORY, Launcher, fresh, refused, refused_here, tree

WITHOUT_MIXSEG = """
import sys
sys.modules["mixseg"] = None  # importing it fails
import torch
program = torch.export.load("network.pt2", extra_files=(extra := {"mixseg.json": ""})).module()
torch.save(program(torch.load("images.pt")), "logits.pt")
assert extra["mixseg.json"] == open("network.pt2.json").read()
"""
DOCUMENT = REPOSITORY / "docs" / "export.md"


@pytest.fixture(scope="module")
def exported(reference: Path, launch: Launcher, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an exported teacher."""
    folder = tmp_path_factory.mktemp("exported")
    arguments = ("export", reference, "--output", "network.pt2", "--size", "40x72")
    done = launch.ok(*arguments, cwd=folder)
    assert "run, step 8: teacher, deeplabv2-test_resnet, 19 classes" in done.out
    difference = re.search(r"differ by at most (\S+) ", done.out)
    assert difference is not None and float(difference[1]) < 1e-4
    return folder


def test_the_file_runs_without_mixseg(
    exported: Path, reference: Path, environment: dict[str, str]
) -> None:
    assert tree(exported) == ["network.pt2", "network.pt2.json"]
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


def test_what_it_says_of_itself(exported: Path) -> None:
    about = json.loads((exported / "network.pt2.json").read_text())
    assert about["classes"]["names"] == [*CITYSCAPES.names]
    assert about["classes"]["palette"] == [[*colour] for colour in CITYSCAPES.palette]
    assert about["input"]["size"] == [40, 72]
    assert about["input"]["range"] == [0.0, 1.0]
    assert (about["network"], about["step"], about["run"]) == ("teacher", 8, "run")


def test_nothing_is_overwritten_unasked(exported: Path, reference: Path, launch: Launcher) -> None:
    before = (exported / "network.pt2").read_bytes()
    arguments = ("export", reference, "--network", "student", "--size", "40x72")
    done = launch(*arguments, "--output", "network.pt2", cwd=exported)
    refused(done, "network.pt2: exists already; --overwrite replaces it")
    # The description alone is not overwritten either.
    (exported / "other.pt2.json").write_text("mine")
    refused(launch(*arguments, "--output", "other.pt2", cwd=exported), "other.pt2.json: exists")
    assert (exported / "network.pt2").read_bytes() == before
    done = launch.ok(*arguments, "--output", "other.pt2", "--overwrite", cwd=exported)
    about = json.loads((exported / "other.pt2.json").read_text())
    assert about["network"] == "student"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ("RUN", ConfigError, "--size HEIGHTxWIDTH is missing"),
        ("RUN --size big", ConfigError, "--size: expected HEIGHTxWIDTH"),
        ("RUN --size 64x64 --format onx", ConfigError, "'onnx'"),
        ("RUN --size 64x64 --format onnx", ConfigError, "a.pt2 is a file of format torch-exp"),
        ("RUN --size 64x64 --output a.bin", ConfigError, "a.bin"),
        ("nowhere --size 64x64", CheckpointError, "nowhere: is not a folder"),
        ("RUN --size 64x64 --output no/a.pt2", ConfigError, "no folder"),
    ],
)
def test_refusals(
    arguments: str,
    error: type[Exception],
    message: str,
    reference: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [word.replace("RUN", str(reference)) for word in arguments.split()]
    words += [] if "--output" in words else ["--output", "a.pt2"]
    refused_here("export", *words, error=error, match=message)
    assert tree(tmp_path) == []


@pytest.mark.slow
def test_what_the_document_shows_runs(
    exported: Path, reference: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 3
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "NAME").symlink_to(reference)
    for name in ("network.pt2", "network.pt2.json"):
        (tmp_path / name).symlink_to(exported / name)
    write_image(tmp_path / "street.png", size=(50, 90))
    script = tmp_path / "use.py"
    script.write_text("\n\n".join(blocks))
    done = fresh([script], tmp_path, environment)
    assert done.code == 0, done.text
    assert (tmp_path / "street_overlay.png").is_file()
    assert "road" in done.out
