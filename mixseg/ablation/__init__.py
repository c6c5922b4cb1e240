"""Ablations: many runs that differ in one aspect each, and their table."""

from mixseg.ablation.grid import Grid, Row, load_grid, row_settings
from mixseg.ablation.report import RowResult, collect, write_report
from mixseg.ablation.runs import Job, plan, run_all

__all__ = [
    "Grid",
    "Job",
    "Row",
    "RowResult",
    "collect",
    "load_grid",
    "plan",
    "row_settings",
    "run_all",
    "write_report",
]
