"""Names that act on a terminal, in everything that a command shows: each is shown as text."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml
from PIL import Image

from mixseg.cli import COMMANDS, run
from mixseg.training.checkpoint import MANIFEST
from tests.end_to_end.conftest import TINY

ACTS = "x\x1b[2J\x9b31m\u202e[red]"
SHOWN = r"x\x1b[2J\x9b31m\u202e[red]"
DESCRIPTION = {"names": [f"road {ACTS}", f"car {ACTS}"], "id_map": {0: 0, 7: 1}, "ignore": [255]}


def write_data(root: Path) -> None:
    """Photographs and masks of two classes; folder, classes and files have such names."""
    root.mkdir(parents=True)
    (root / "dataset.yaml").write_text(yaml.safe_dump(DESCRIPTION, allow_unicode=True))
    dice = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 1)):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        for number in range(count):
            name = f"{number}{ACTS}.png"
            pixels = dice.integers(0, 256, (64, 64, 3), dtype=np.uint8)
            ids = dice.choice(np.array([0, 7, 255], dtype=np.uint8), (64, 64))
            Image.fromarray(pixels).save(root / "images" / split / name)
            Image.fromarray(ids).save(root / "labels" / split / name)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, settings and a run, all of whose names act."""
    folder = tmp_path_factory.mktemp("names")
    root = folder / f"data {ACTS}"
    write_data(root)
    data = TINY["data"] | {"dataset": "folder", "root": str(root), "labeled": "1/2"}
    training = {"iterations": 1, "precision": "fp32", "device": "cpu"}
    content = TINY | {"data": data, "training": training, "output": str(folder / "runs")}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(content))
    flags = ["--config", str(folder / "tiny.yaml"), "--name", "run"]
    assert run(COMMANDS["ssl"].load(), flags) == 0
    (folder / "runs" / "run").rename(trained(folder))  # refused as a name, but anybody may rename
    return folder


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """What was printed; fails where it would act."""
    out, err = capsys.readouterr()
    acting = {char for char in out + err if not char.isprintable()} - {"\n"}
    assert not acting, (out, err)
    return out + err


def trained(folder: Path) -> str:
    return str(folder / "runs" / f"run {ACTS}")


def weights(folder: Path) -> list[str]:
    (file,) = Path(trained(folder)).glob("checkpoints/step-*/student.safetensors")
    tensors = safetensors.torch.load_file(file)
    tensors |= {f"{number}{ACTS}": torch.zeros(1) for number in range(4)}
    path = folder / "weights.safetensors"
    safetensors.torch.save_file(tensors, path)
    return [*settings(folder), "--weights", str(path), "--name", "weights"]


def grid(folder: Path) -> list[str]:
    path = folder / f"{ACTS}.yaml"
    rows = {f"{row} {ACTS}": {"set": {"mixing.mixer": row}} for row in ("cutmix", "classmix")}
    content = {"title": f"title {ACTS}", "base": "tiny.yaml", "seeds": 1, "rows": rows}
    path.write_text(yaml.safe_dump(content | {"default": f"cutmix {ACTS}"}))
    base = str(folder / "tiny.yaml")
    return [str(path), "--dry-run", "--base", base, "--output", str(folder / f"grid {ACTS}")]


def damaged(folder: Path) -> str:
    """A run whose checkpoint lists a file of such a name."""
    path = folder / "damaged"
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(trained(folder), path)
    for file in path.glob(f"checkpoints/*/{MANIFEST}"):
        manifest = json.loads(file.read_text())
        manifest["sha256"][f"{ACTS}\nerror: forged"] = "0"
        file.write_text(json.dumps(manifest))
    return str(path)


def settings(folder: Path) -> list[str]:
    return ["--config", str(folder / "tiny.yaml")]


def photographs(folder: Path) -> str:
    return str(folder / f"data {ACTS}/images/val")


def data_flags(folder: Path) -> list[str]:
    return ["--dataset", "folder", "--data-root", str(folder / f"data {ACTS}")]


TO = ["--output", ACTS]
SCENES = ["--out", ACTS, "--size", "64x128", "--images", "1", "--val-images", "1"]
WORK: dict[str, Callable[[Path], list[str]]] = {
    "ssl": weights,
    "evaluate": lambda there: [trained(there)],
    "predict": lambda there: [trained(there), photographs(there), *TO],
    "export": lambda there: [trained(there), "--size", "64x64", "--output", f"{ACTS}.pt2"],
    "check-data": settings,
    "dataset-stats": data_flags,
    "prepare-data": lambda there: [*settings(there), "--size", "32x32", *TO],
    "make-demo": lambda there: SCENES,
    "ablate": grid,
    "compare": lambda there: [trained(there), damaged(there)],
    "figures": lambda there: ["class-frequencies", *data_flags(there), *TO],
}
"""Command -> arguments, from the folder with the names."""


@pytest.mark.parametrize(
    "command",
    [pytest.param(one, marks=pytest.mark.slow) if one == "export" else one for one in WORK],
)
def test_what_a_command_shows(
    command: str, there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    code = run(COMMANDS[command].load(), WORK[command](there))
    text = said(capsys)
    assert code in (0, 1), text
    assert SHOWN in text.replace("\n", "").replace(" ", ""), text


REFUSED: tuple[tuple[str, Callable[[Path], list[str]]], ...] = (
    ("ssl", lambda there: [ACTS]),
    ("ssl", lambda there: ["--mixer", ACTS]),
    ("ssl", lambda there: ["--iterations", ACTS]),
    ("ssl", lambda there: ["--set", f"{ACTS}=1"]),
    ("ssl", lambda there: ["--config", f"{ACTS}.yaml"]),
    ("ssl", lambda there: ["--import", f"{ACTS}.py"]),
    ("evaluate", lambda there: [str(there / ACTS)]),
    ("evaluate", lambda there: [damaged(there)]),
    ("figures", lambda there: [ACTS]),
    ("dataset-stats", lambda there: [*data_flags(there), "--split", ACTS]),
)
"""Command -> arguments that it refuses: a flag, values, files, a run, a manifest, a split."""


def test_what_an_error_shows(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command, arguments in REFUSED:
        capsys.readouterr()
        assert run(COMMANDS[command].load(), arguments(there)) in (1, 2)
        text = said(capsys)
        assert SHOWN in text, text
        assert text.startswith("error: ") and text.count("\n") == 1, "one line"


@pytest.mark.parametrize("key", ["seed\x1b[2J", "x\u202e"])
def test_a_key_of_a_file(key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(yaml.safe_dump({key: 1}))
    assert run(COMMANDS["ssl"].load(), ["--config", str(path)]) == 2
    assert key.encode("unicode_escape").decode() in said(capsys)
