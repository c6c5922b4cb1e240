from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.end_to_end.processes import REPOSITORY, RUN, TOOLS, Launcher, fresh

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
def environment(demo_cache: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment of the commands: this checkout, one thread, scenes and home of the session."""
    paths = [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
    return dict(os.environ) | {
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "passive",  # ablations give their runs more threads
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
) -> Path:
    """A run that nothing interrupted, in an interpreter of its own; what it said is ``said``."""
    cwd = tmp_path_factory.mktemp("reference")
    done = fresh([TOOLS / "train_ssl.py", "--config", config, *RUN], cwd, environment)
    assert done.code == 0, done.text
    (cwd / "said").write_text(done.out)
    return cwd / "out/run"


@pytest.fixture(scope="session")
def frozen(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained weights whose batch norm stays as it is: every image then counts for itself."""
    weights = reference / "checkpoints/step-00000008/student.safetensors"
    model = TINY["model"] | {"weights": str(weights), "batch_norm": "frozen"}
    path = tmp_path_factory.mktemp("frozen") / "frozen.yaml"
    path.write_text(yaml.safe_dump(TINY | {"model": model}))
    return path


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    """Two rows of runs of a second."""
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
