"""A table says what was computed in another way than its file says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mixseg.ablation.grid import Grid, choose_rows, load_grid
from mixseg.ablation.overrides import with_overrides
from mixseg.ablation.runs import OWN
from mixseg.config.resolve import resolve_values

CONFIGS = Path(__file__).parents[2] / "configs"
OF_PAPERS = sorted(
    path.name
    for path in (CONFIGS / "ablations").glob("*.yaml")
    if any(row.published for row in load_grid(path).rows)
)
ROOTS = {"data.root": "/data", "source_domain.root": "/source"}


def shipped(name: str, base: str | None = None) -> Grid:
    return load_grid(CONFIGS / "ablations" / name, None if base is None else CONFIGS / base)


def published(grid: Grid) -> dict[str, dict[str, float]]:
    return {row.name: dict(row.published) for row in grid.rows if row.published}


@pytest.mark.parametrize("name", OF_PAPERS)
def test_every_table_of_a_paper(name: str) -> None:
    grid = shipped(name)
    assert with_overrides(grid, ROOTS, grid.seeds) == grid, "as it is written"

    made = with_overrides(grid, ROOTS | {"training.iterations": 3}, 1)
    assert published(made) == published(grid), "a length may be compared"
    assert any(line.endswith("-> 3") for line in made.overrides)
    # Cited rows of one seed are a table of one seed as it is written.
    assert (f"seeds: {grid.seeds} -> 1" in made.overrides) == (grid.seeds != 1)
    assert "iterations" in made.notes[0] and not made.left_out

    written = resolve_values([grid.base], {})
    for other in (
        {"model.architecture": "enet", "model.backbone": "none"},
        {"model.backbone": "mobilenetv3_large_100"},
        {"data.dataset": "camvid"},
    ):
        made = with_overrides(grid, ROOTS | other, grid.seeds)
        differing = {key for key, value in other.items() if written[key] != value}
        for key in differing:
            assert any(line.startswith(f"{key}: ") for line in made.overrides)
        # A row that says its network itself keeps its values; others lose them.
        same = [row.name for row in grid.rows if differing <= row.changes.keys()]
        assert list(published(made)) == [one for one in same if one in published(grid)]
        assert made.left_out == "" if not differing else other[min(differing)] in made.left_out


def test_every_setting_that_differs_is_named() -> None:
    grid = shipped("mixers.yaml")
    written = resolve_values([grid.base], {})
    changed = {
        # Shares stay in their range.
        path: not value
        if type(value) is bool
        else value + 1
        if type(value) is int
        else value / 2 or 0.5
        for path, value in written.items()
        if type(value) in (bool, int, float) and path not in OWN
    }
    assert len(changed) > 20
    made = with_overrides(grid, changed, grid.seeds)
    assert [line.partition(":")[0] for line in made.overrides] == list(changed)
    quiet = with_overrides(grid, {"data.workers": 7, "output": "elsewhere"}, grid.seeds)
    assert quiet.notes == ()
    table = shipped("ssl_table_5_1.yaml")
    some = with_overrides(choose_rows(table, ["CutMix"]), ROOTS, table.seeds)
    assert some.overrides == (f"rows: {len(table.rows)} -> 2",)
    assert list(published(some)) == ["default SSL", "CutMix"]


def test_another_preset_says_how_it_differs_and_leaves_out_what_is_cited() -> None:
    grid = shipped("ssl_table_4_1.yaml", "demo/ssl.yaml")
    made = with_overrides(grid, {"optimizer.lr": 0.5}, 1)
    assert made.title.endswith(", on demo/ssl.yaml")
    assert made.overrides[0] == "base: ssl/cityscapes.yaml -> demo/ssl.yaml"
    assert "data.dataset: cityscapes -> demo" in made.overrides
    assert "optimizer.lr: 0.00025 -> 0.5" in made.overrides
    assert published(made) == {} and not any(row.cited for row in made.rows)
    assert "built-in scenes" in made.left_out and "cityscapes" in made.left_out
    assert [row.name for row in made.rows] == [row.name for row in grid.rows if not row.cited]


def test_a_preset_of_the_same_network_and_data_keeps_published_values(tmp_path: Path) -> None:
    text = (CONFIGS / "ssl" / "cityscapes.yaml").read_text()
    short = tmp_path / "short.yaml"
    short.write_text(text.replace("iterations: 40000", "iterations: 3"))
    grid = load_grid(CONFIGS / "ablations" / "ssl_table_5_1.yaml", short)
    made = with_overrides(grid, ROOTS, grid.seeds)
    assert published(made) == published(grid) and not made.left_out
    assert made.overrides[1:] == ("training.iterations: 40000 -> 3",)


def test_scenes_in_the_layout_of_a_source_are_not_that_source() -> None:
    grid = shipped("uda_table_5_2.yaml")
    assert published(with_overrides(grid, ROOTS, 3)) == published(grid)
    drawn = with_overrides(grid, {"data.root": "/data"}, 3)
    assert published(drawn) == {} and "built-in scenes to cityscapes" in drawn.left_out


def test_values_of_built_in_scenes_and_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "ablations").mkdir()
    path = tmp_path / "ablations" / "grid.yaml"

    def grid(base: str) -> Grid:
        (tmp_path / "base.yaml").write_text(base)
        path.write_text(
            "title: Own\nbase: base.yaml\ndefault: one\nseeds: 1\n"
            "rows: {one: {published: 50}, two: {set: {optimizer.lr: 0.5}, published: 40}}\n"
        )
        return load_grid(path)

    scenes = grid("source_domain: {dataset: gta5}\n")
    assert len(published(with_overrides(scenes, {}, 1))) == 2
    folder = grid("data: {dataset: folder, root: /leaves}\n")
    assert len(published(with_overrides(folder, {"data.root": "/leaves"}, 1))) == 2
    other = with_overrides(folder, {"data.root": "/rocks"}, 1)
    assert other.overrides == ("data.root: /leaves -> /rocks",) and published(other) == {}
    assert "folder /leaves" in other.left_out and "folder /rocks" in other.left_out


def test_a_preset_that_is_missing_cannot_be_compared_with(tmp_path: Path) -> None:
    (tmp_path / "ablations").mkdir()
    path = tmp_path / "ablations" / "ssl_table_5_1.yaml"
    text = (CONFIGS / "ablations" / "ssl_table_5_1.yaml").read_text()
    for name in ("demo/ssl.yaml", "ssl/camvid.yaml"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("seed: 1\n")
    path.write_text(text)
    grid = load_grid(path, CONFIGS / "ssl" / "cityscapes.yaml")
    made = with_overrides(grid, ROOTS | {"optimizer.lr": 0.5}, 3)
    assert published(made) == {} and "cityscapes.yaml" in made.left_out
    assert "optimizer.lr: 0.00025 -> 0.5" in made.overrides
    assert replace(made, rows=()).notes == made.notes
