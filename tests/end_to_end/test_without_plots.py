"""Commands where matplotlib, the extra ``plots``, is not installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixseg.charts import WITHOUT_PLOTS
from tests.end_to_end.processes import Launcher, refused


@pytest.fixture
def without(tmp_path: Path) -> Path:
    """The program, for which ``import matplotlib`` fails as if it were not there."""
    path = tmp_path / "without.py"
    path.write_text(
        "import sys\n"
        "from matplotlib import figure\n"
        "for name in list(sys.modules):\n"
        "    if name.partition('.')[0] == 'matplotlib':\n"
        "        sys.modules[name] = None\n"
        "from mixseg.cli import main\n"
        "sys.exit(main())\n"
    )
    return path


def test_a_run_and_a_range_test(
    without: Path, launch: Launcher, config: Path, tmp_path: Path
) -> None:
    here = ("--output", "out", "--name", "run")
    done = launch(without, "ssl", "--config", config, *here, cwd=tmp_path)
    assert done.code == 0, done.text
    assert (tmp_path / "out/run/metrics.jsonl").is_file()
    assert not list((tmp_path / "out").rglob("*.png"))
    probe = ("find-lr", "--config", config, "--steps", 12, "--output", "out", "--name", "lr")
    done = launch(without, *probe, cwd=tmp_path)
    assert done.code == 0, done.text
    assert WITHOUT_PLOTS in done.out
    assert [path.name for path in (tmp_path / "out/lr").iterdir()] == ["learning_rate.csv"]


@pytest.mark.slow
def test_an_ablation(without: Path, launch: Launcher, grid: Path, tmp_path: Path) -> None:
    done = launch(without, "ablate", grid, "--seeds", 1, "--output", "out", cwd=tmp_path)
    assert done.code == 0, done.text
    assert WITHOUT_PLOTS in done.out
    assert "chart.png" not in done.out
    assert (tmp_path / "out/table.md").is_file()
    assert not (tmp_path / "out/chart.png").exists()


def test_figures_say_what_to_install(without: Path, launch: Launcher, tmp_path: Path) -> None:
    refused(launch(without, "figures", "temperatures", cwd=tmp_path), WITHOUT_PLOTS)
    done = launch(without, "figures", "--help", cwd=tmp_path)
    assert done.code == 0, done.text
