from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.end_to_end.processes import REPOSITORY, TOOLS, Launcher, fresh

TINY: dict[str, dict[str, object]] = {
    "data": {
        "labeled": "1/4",
        "flip": True,
        "batch_labeled": 2,
        "batch_unlabeled": 2,
        "workers": 0,
    },
    "demo": {"train_images": 12, "val_images": 3, "size": [64, 128]},
    "model": {
        "backbone": "test_resnet",
        "output_stride": 16,
        "rates": [1, 2],
        "batch_norm": "train",
        "weights": "none",
    },
    "optimizer": {"lr": 0.01},
    "training": {"iterations": 8, "log_every": 1, "precision": "fp32"},
    "validation": {"every": 4},
    "checkpoints": {"every": 2},
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests work in a folder of their own."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment of the commands: this checkout, one thread, folders of the session."""
    paths = [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
    return dict(os.environ) | {
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": "1",
        "MIXSEG_CACHE": str(tmp_path_factory.mktemp("demo-cache")),
        "XDG_CONFIG_HOME": str(tmp_path_factory.mktemp("home")),
        "COLUMNS": "200",
    }


@pytest.fixture(scope="session")
def launch(
    tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]
) -> Iterator[Launcher]:
    """Runs tools."""
    launcher = Launcher(tmp_path_factory.mktemp("output"), environment)
    yield launcher
    launcher.close()


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a second: 12 scenes of 64x128, 8 steps."""
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


@pytest.fixture(scope="session")
def reference(
    tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str], config: Path
) -> tuple[Path, str]:
    """A run that nothing interrupted, in an interpreter of its own: its folder and its output."""
    cwd = tmp_path_factory.mktemp("reference")
    done = fresh(
        [TOOLS / "train_ssl.py", "--config", config, "--output", "out", "--name", "run"],
        cwd,
        environment,
    )
    assert done.code == 0, done.text
    return cwd / "out" / "run", done.out


@pytest.fixture(scope="session")
def frozen(
    reference: tuple[Path, str], config: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Trained weights whose batch norm stays as it is: every image then counts for itself."""
    weights = reference[0] / "checkpoints" / "step-00000008" / "student.safetensors"
    content = yaml.safe_load(config.read_text())
    content["model"] |= {"weights": str(weights), "batch_norm": "frozen"}
    path = tmp_path_factory.mktemp("frozen") / "frozen.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture
def train(launch: Launcher, config: Path) -> Callable[..., object]:
    """Starts the run of the reference in this test's folder, with further arguments."""

    def start(*arguments: object) -> object:
        return launch.start(
            "train_ssl", *("--config", config, "--output", "out", "--name", "run", *arguments)
        )

    return start


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    """Two rows of runs of a second, and one that cannot read its data."""
    (tmp_path / "configs/ablations").mkdir(parents=True)
    content = TINY | {"training": {"iterations": 2, "precision": "fp32"}}
    (tmp_path / "configs/tiny.yaml").write_text(yaml.safe_dump(content))
    path = tmp_path / "configs/ablations/small.yaml"
    path.write_text(
        "title: Small\nbase: tiny.yaml\nseeds: 2\ndefault: with CutMix\nrows:\n"
        "  supervised: {set: {method: supervised}, published: 40.5}\n"
        "  with CutMix: {set: {mixing.mixer: cutmix}}\n"
    )
    return path
