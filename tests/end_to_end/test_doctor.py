"""tools/doctor.py: what the machine has, and what a run will need."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import re
import shutil
from pathlib import Path

import pytest

from tests.data.layouts import write_folder
from tests.end_to_end.processes import RUN, TOOLS, Launcher, fresh, refuses_each, tree


def test_the_machine(launch: Launcher, tmp_path: Path) -> None:
    done = launch.ok("doctor", "--workers", 1, "--output", "out")
    torch = f"torch {importlib.metadata.version('torch')}"
    for expected in (platform.python_version(), torch, "1 start in"):
        assert expected in done.out
    free = float(re.search(r"output: .*: ([\d.]+) GiB free", done.out)[1])
    assert free == pytest.approx(shutil.disk_usage(tmp_path).free / 2**30, abs=5)
    assert not tree(tmp_path)


@pytest.mark.slow
def test_a_run_takes_what_was_said(
    config: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    # In interpreters of their own: what is forked shares memory with what it is forked from.
    said = fresh([TOOLS / "doctor.py", "--config", config, *RUN[:2]], tmp_path, environment)
    assert said.code == 0, said.text
    assert not tree(tmp_path)
    needed = float(re.search(r"memory needed: +([\d.]+) GiB", said.out)[1])
    disk = re.search(r"disk needed: +([\d.]+) GiB .*: (\d+) checkpoints of ([\d.]+) GiB", said.out)
    done = fresh([TOOLS / "train_ssl.py", "--config", config, *RUN], tmp_path, environment)
    assert done.code == 0, done.text
    peak = json.loads((tmp_path / "out/run/summary.json").read_text())["peak_memory"]
    assert needed == pytest.approx(peak / 2**30, rel=0.2)
    newest = max((tmp_path / "out/run").glob("checkpoints/step-*"))
    size = sum(path.stat().st_size for path in newest.iterdir())
    assert float(disk[3]) == pytest.approx(size / 2**30, abs=0.01)


def test_refusals(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("seed: 0\n")
    cases = {
        "--config nowhere.yaml": "nowhere.yaml",
        "--device gpu0": "'gpu0'",
        "--mixer classmax --config empty.yaml": "'classmix'",
        "--dataset folder": "--data-root",
    }
    refuses_each("doctor", cases, "--workers", 0)


def test_data_that_cannot_be_opened(launch: Launcher, tmp_path: Path) -> None:
    """With and without ``--config``."""
    write_folder(tmp_path / "data")
    write_folder(tmp_path / "data", "val")
    own = ("--dataset", "folder", "--data-root", "data", "--labeled", "1/2", "--workers", 0)
    done = launch.ok("doctor", *own)
    assert "2 labeled, 2 unlabeled and 4 validation" in done.out
    (tmp_path / "data/dataset.yaml").unlink()
    (tmp_path / "own.yaml").write_text("data: {dataset: folder, crop: [32, 32]}\n")
    for flags in (own, (*own, "--config", "own.yaml")):
        done = launch("doctor", *flags)
        assert done.code == 1 and "data/dataset.yaml is missing" in done.out, done.text
