"""Every shipped YAML is a run that can be built; new presets are tested by being there."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from mixseg.config import Settings, dump_settings, resolve_settings
from mixseg.engine.method import MethodInputs
from mixseg.engine.optimizers import build_optimizer
from mixseg.engine.schedules import build_schedule
from mixseg.engine.teacher import FixedTeacher
from mixseg.methods import build_method
from mixseg.models import build_initial_model, parameter_groups
from mixseg.training.checks import check_settings

CONFIGS = Path(__file__).parent.parent / "configs"
PRESETS = sorted(
    path.relative_to(CONFIGS).as_posix()
    for path in CONFIGS.rglob("*.yaml")
    # Grids: tests/ablation/test_grid.py. Classifiers: tests/test_classification.py.
    if path.parent.name != "ablations" and path.name != "cifar10.yaml"
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


def test_there_are_presets() -> None:
    assert "demo/ssl.yaml" in PRESETS


@pytest.mark.parametrize("name", PRESETS)
class TestEveryPreset:
    def test_its_names_are_known(self, name: str) -> None:
        check_settings(resolved(name))

    def test_it_is_what_a_run_would_save(self, name: str, tmp_path: Path) -> None:
        settings = resolved(name)
        (tmp_path / "config.yaml").write_text(dump_settings(settings))
        assert resolve_settings([tmp_path / "config.yaml"], {}) == settings

    def test_its_parts_can_be_built(self, name: str) -> None:
        settings = resolved(name)
        with torch.device(
            "meta"
        ):  # what weights begin with takes seconds to draw, and says nothing
            model, report = build_initial_model(settings.model, 4, settings.seed)
        assert report is None
        names = ("a", "b", "c", "d")
        given = MethodInputs(torch.full((4,), 1 / 4), torch.full((4,), 1 / 4))
        if settings.method == "distillation":
            given = given._replace(teacher=FixedTeacher(copy.deepcopy(model), names, names))
        method = build_method(model, settings, given)
        assert method.student is model
        assert method.streams
        optimizer = settings.optimizer
        groups = parameter_groups(
            model, optimizer.lr, optimizer.head_factor, optimizer.weight_decay
        )
        built = build_optimizer(groups, optimizer)
        assert [group["lr"] for group in built.param_groups] == pytest.approx(
            [optimizer.lr, optimizer.lr * optimizer.head_factor]
        )
        schedule = build_schedule(settings.schedule, settings.training.iterations)
        assert 0 <= schedule(0) <= 1

    def test_a_comment_says_what_it_is(self, name: str) -> None:
        assert (CONFIGS / name).read_text().startswith("# ")
