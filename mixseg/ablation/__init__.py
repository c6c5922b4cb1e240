"""Ablations: many runs that differ in one aspect each, and their table."""

from mixseg.ablation.cluster import ClusterLauncher
from mixseg.ablation.dry_run import describe
from mixseg.ablation.grid import Grid, Row, choose_rows, load_grid, row_settings
from mixseg.ablation.launcher import Launcher
from mixseg.ablation.local import LocalLauncher
from mixseg.ablation.overrides import with_overrides
from mixseg.ablation.report import CHART, terminal_tables, write_report
from mixseg.ablation.results import Measured, RowResult, collect
from mixseg.ablation.runs import Job, check_common_flags, check_files, plan, unlike_data
from mixseg.ablation.slurm import SlurmCluster, SlurmSettings

__all__ = [
    "CHART",
    "ClusterLauncher",
    "Grid",
    "Job",
    "Launcher",
    "LocalLauncher",
    "Measured",
    "Row",
    "RowResult",
    "SlurmCluster",
    "SlurmSettings",
    "check_common_flags",
    "check_files",
    "choose_rows",
    "collect",
    "describe",
    "load_grid",
    "plan",
    "row_settings",
    "terminal_tables",
    "unlike_data",
    "with_overrides",
    "write_report",
]
