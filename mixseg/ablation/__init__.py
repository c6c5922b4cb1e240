"""Ablations: many runs that differ in one aspect each, and their table."""

from mixseg.ablation.dry_run import describe
from mixseg.ablation.grid import Grid, Row, choose_rows, load_grid, row_settings
from mixseg.ablation.report import FILES, terminal_tables, write_report
from mixseg.ablation.results import Measured, RowResult, collect
from mixseg.ablation.runs import Job, plan, run_all, write_presets

__all__ = [
    "FILES",
    "Grid",
    "Job",
    "Measured",
    "Row",
    "RowResult",
    "choose_rows",
    "collect",
    "describe",
    "load_grid",
    "plan",
    "row_settings",
    "run_all",
    "terminal_tables",
    "write_presets",
    "write_report",
]
