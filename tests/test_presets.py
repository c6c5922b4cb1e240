"""Every shipped YAML is a run that can be built; new presets are tested by being there."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from mixseg.config.presets import configuration_file
from mixseg.config.resolve import resolve_settings
from mixseg.config.saved import dump_settings
from mixseg.config.sections import Settings
from mixseg.errors import ConfigError
from mixseg.methods import SemiSupervised
from mixseg.models import FixedTeacher, build_initial_model
from mixseg.training.build import Given, build_method
from mixseg.training.checks import check_settings
from mixseg.training.optimizers import build_optimizer
from mixseg.training.run import start
from mixseg.training.schedules import build_schedule
from tests.data.layouts import cycle_ids, write_image, write_label

CONFIGS = Path(__file__).parent.parent / "configs"
PRESETS = sorted(
    path.relative_to(CONFIGS).as_posix()
    for path in CONFIGS.rglob("*.yaml")
    # Grids: tests/ablation/test_grid.py.
    if path.parent.name != "ablations"
)

# Weights and data lie with the user, not with the tests.
ABSENT = {
    "model.weights": "none",
    "model.batch_norm": "train",
    "model.weights_sha256": None,
    "training.device": "cpu",
}


def resolved(name: str, **overrides: object) -> Settings:
    if name.startswith("distill/"):
        overrides["distillation.teacher"] = "/run"
    settings = resolve_settings([CONFIGS / name], ABSENT | overrides)
    if settings.data.dataset == "demo":
        return settings
    roots = {"data.root": "/data"}
    if settings.source_domain.dataset is not None:
        roots["source_domain.root"] = "/source"
    return resolve_settings([CONFIGS / name], ABSENT | overrides | roots)


def test_a_preset_goes_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where there are no configs, as with an installed wheel
    names = ("folder-small", "folder_small", "ssl/folder-small", "folder_small.yaml")
    for name in (*names, "configs/ssl/folder_small.yaml"):
        assert configuration_file(name).samefile(CONFIGS / "ssl/folder_small.yaml")
    (tmp_path / "folder-small").write_text("seed: 1")
    assert configuration_file("folder-small") == Path("folder-small")
    for name, named in (("folder-smal", "'ssl/folder_small'"), ("nowhere.yaml", "nowhere.yaml")):
        with pytest.raises(ConfigError, match=named):
            configuration_file(name)


@pytest.mark.slow
def test_photographs_of_any_size_train_on_a_small_machine(tmp_path: Path) -> None:
    """The preset for them takes three steps on images of odd sizes."""
    for seed, size in enumerate([(37, 91), (120, 67), (65, 65), (41, 53), (99, 30)]):
        write_image(tmp_path / f"data/images/train/{seed}.jpg", seed, size)
        write_label(tmp_path / f"data/labels/train/{seed}.png", cycle_ids([0, 1, 2], seed, size))
        write_image(tmp_path / f"photos/{seed}.png", seed + 10, size[::-1])
    (tmp_path / "data/dataset.yaml").write_text("names: [a, b, c]\n")
    settings = resolve_settings(
        [configuration_file("folder-small")],
        {
            "data.root": str(tmp_path / "data"),
            "data.unlabeled": str(tmp_path / "photos"),
            "data.val": "1/5",
            "data.workers": 0,
            **ABSENT,
            "training.iterations": 3,
            "output": str(tmp_path / "out"),
            "name": "run",
            "training.device": "cpu",
            "data.crop": [64, 64],
            "data.resize": [96, 96],
        },
    )
    outcome, run = start(settings)
    assert outcome.exit_code == 0
    assert len((run / "val.txt").read_text().split()) == 1


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_saved_as_it_is_and_its_parts_can_be_built(
    name: str, tmp_path: Path
) -> None:
    settings = resolved(name)
    check_settings(settings)
    (tmp_path / "config.yaml").write_text(dump_settings(settings))
    assert resolve_settings([tmp_path / "config.yaml"], {}) == settings
    assert (CONFIGS / name).read_text().startswith("# ")
    assert configuration_file(name.removesuffix(".yaml")).samefile(CONFIGS / name)
    with torch.device("meta"):  # drawing the first weights takes seconds, and says nothing
        model, report = build_initial_model(settings.model, settings.options, 4, settings.seed)
    assert report is None
    names = ("a", "b", "c", "d")
    given = Given(torch.full((4,), 1 / 4), torch.full((4,), 1 / 4))
    if settings.method == "distillation":
        given = given._replace(teacher=FixedTeacher(copy.deepcopy(model), names, names))
    method = build_method(model, settings, given)
    assert method.student is model
    assert method.streams
    optimizer = settings.optimizer
    groups = model.parameter_groups(
        optimizer.lr, optimizer.weight_decay, head_factor=optimizer.head_factor
    )
    built = build_optimizer(optimizer.name, groups, optimizer.lr, settings.options)
    assert [group["lr"] for group in built.param_groups] == pytest.approx(
        [optimizer.lr, optimizer.lr * optimizer.head_factor]
    )
    schedule, _ = build_schedule(
        settings.schedule.name, settings.options, settings.training.iterations
    )
    assert 0 <= schedule(0) <= 1


@pytest.mark.parametrize("base", ["demo/ssl", "demo/uda"])
@pytest.mark.parametrize("recipe", [name for name in PRESETS if name.startswith("recipes/")])
def test_every_recipe_goes_on_top_of_the_built_in_scenes(recipe: str, base: str) -> None:
    """Nothing that the preset below sets contradicts the recipe; the method stays that below."""
    method = resolve_settings([configuration_file(base)], {}).method
    files = [configuration_file(base), CONFIGS / recipe]
    settings = resolve_settings(files, ABSENT | {"method": method})
    with torch.device("meta"):
        model, _ = build_initial_model(settings.model, settings.options, 4, settings.seed)
    given = Given(torch.full((4,), 1 / 4), torch.full((4,), 1 / 4))
    built = build_method(model, settings, given)
    assert isinstance(built, SemiSupervised)
    assert {*settings.terms} == {*built.terms}
