"""Commands where matplotlib, the extra ``plots``, is not installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixseg.charts import WITHOUT_PLOTS
from tests.end_to_end.processes import RUN, Launcher, refused

PROGRAM = """
import sys
from matplotlib import figure
for name in list(sys.modules):
    if name.partition(".")[0] == "matplotlib":
        sys.modules[name] = None
from mixseg.cli import main
sys.exit(main())
"""


@pytest.fixture
def without(tmp_path: Path) -> Path:
    """The program, for which ``import matplotlib`` fails as if it were not there."""
    path = tmp_path / "without.py"
    path.write_text(PROGRAM)
    return path


def test_a_run_a_range_test_and_figures(
    without: Path, launch: Launcher, config: Path, tmp_path: Path
) -> None:
    launch.ok(without, "ssl", "--config", config, *RUN, "--iterations", 2)
    assert (tmp_path / "out/run/metrics.jsonl").is_file()
    assert not list((tmp_path / "out").rglob("*.png"))
    probe = ("--config", config, "--steps", 12, "--output", "out", "--name", "lr")
    done = launch.ok(without, "find-lr", *probe)
    assert WITHOUT_PLOTS in done.out
    assert [path.name for path in (tmp_path / "out/lr").iterdir()] == ["learning_rate.csv"]
    refused(launch(without, "figures", "temperatures"), WITHOUT_PLOTS)
    launch.ok(without, "figures", "--help")


@pytest.mark.slow
def test_an_ablation(without: Path, launch: Launcher, grid: Path, tmp_path: Path) -> None:
    done = launch.ok(without, "ablate", grid, "--seeds", 1, "--output", "out")
    assert WITHOUT_PLOTS in done.out and "chart.png" not in done.out
    assert (tmp_path / "out/table.md").is_file()
    assert not (tmp_path / "out/chart.png").exists()
