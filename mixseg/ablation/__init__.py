"""Ablations: many runs that differ in one aspect each, and their table."""

from mixseg.ablation.cluster import ClusterLauncher
from mixseg.ablation.grid import Grid, Row, load_grid, row_settings
from mixseg.ablation.launcher import Launcher
from mixseg.ablation.local import LocalLauncher
from mixseg.ablation.report import RowResult, collect, write_report
from mixseg.ablation.runs import Job, plan
from mixseg.ablation.slurm import SlurmCluster, SlurmSettings

__all__ = [
    "ClusterLauncher",
    "Grid",
    "Job",
    "Launcher",
    "LocalLauncher",
    "Row",
    "RowResult",
    "SlurmCluster",
    "SlurmSettings",
    "collect",
    "load_grid",
    "plan",
    "row_settings",
    "write_report",
]
