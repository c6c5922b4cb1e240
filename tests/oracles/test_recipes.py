"""Recipes of today against their transcriptions, in float64: losses, gradients and weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from mixseg.config.resolve import resolve_settings
from mixseg.data.streams import Batch
from mixseg.ignore import IGNORE
from mixseg.models import FixedTeacher
from mixseg.training.build import Given
from tests.methods.build import CLASSES, NAMES, build, random_of, stepped
from tests.models.build import small_model
from tests.oracles import recipes
from tests.oracles.recipes import Recipe, Selection

STEPS = 3
RECIPES = Path(__file__).parents[2] / "configs/recipes"


def assert_equal(found: Tensor, wanted: Tensor, name: str) -> None:
    torch.testing.assert_close(
        found, wanted, rtol=1e-6, atol=1e-9, msg=lambda text: f"{name}: {text}"
    )


@pytest.fixture
def float64(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is float32 in training is float64 here, so that nothing hides behind rounding."""
    monkeypatch.setattr(torch, "float32", torch.float64)
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float)


def settings_of(name: str) -> dict[str, Any]:
    """Setting path -> value of the file of a recipe."""
    content = yaml.safe_load((RECIPES / f"{name}.yaml").read_text())
    flat = {}
    for section, values in content.items():
        one = {section: values} if not isinstance(values, dict) else values
        for key, value in one.items():
            chosen = tuple(value) if isinstance(value, list) else value
            flat[key if one is not values else f"{section}.{key}"] = chosen
    return flat


def batches(step: int, sizes: tuple[int, int, int] = (2, 3, 2)) -> dict[str, Batch]:
    """Images of 32x48 pixels whose labels are cells of 16, with noise; parts are padding."""
    given = {}
    for place, (name, size) in enumerate(
        zip(("labeled", "unlabeled", "target"), sizes, strict=True)
    ):
        random = torch.Generator().manual_seed(10 * step + place)
        images = torch.randint(256, (size, 3, 32, 48), generator=random, dtype=torch.uint8)
        cells = torch.randint(CLASSES, (size, 2, 3), generator=random, dtype=torch.uint8)
        labels = cells.repeat_interleave(16, 1).repeat_interleave(16, 2)
        noise = torch.rand(labels.shape, generator=random)
        labels = torch.where(noise < 0.1, (labels + 1) % CLASSES, labels)
        labels[noise > 0.97] = IGNORE
        valid = torch.ones(size, 32, 48, dtype=torch.bool)
        valid[-1, :, 41:] = False
        labels[~valid] = IGNORE
        if name == "unlabeled":
            labels[:] = IGNORE
        ids = tuple(f"{name}-{index}" for index in range(size))
        given[name] = Batch(images, labels, valid, ids)
    return given


def compare(
    name: str,
    changes: dict[str, Any],
    recipe: type[Recipe],
    selection: Selection,
    given: Given | None = None,
    optimizer: type[torch.optim.Optimizer] = torch.optim.SGD,
    **constants: Any,
) -> None:
    """Three steps of the method and of the transcription."""
    method = build(name, changes, given)
    recipe = type(recipe.__name__, (recipe,), constants)
    written = recipe(method, selection)
    lr, common = 1e-2 if optimizer is torch.optim.SGD else 1e-4, written.common
    own = optimizer(method.student.parameters(), lr=lr)  # type: ignore[call-arg]
    # The paper's rate: its gradients are those of all losses times the common factor.
    rate = lr / common if optimizer is torch.optim.SGD else lr
    other = optimizer(written.student.parameters(), lr=rate)  # type: ignore[call-arg]
    before = [one.detach().clone() for one in method.student.parameters()]
    for step in range(STEPS):
        random, one = random_of(step), batches(step)
        found = stepped(method, one, step)
        wanted = written(one, random)
        assert set(found.losses) == set(wanted)
        for key, loss in wanted.items():
            assert float(loss.detach()) > 1e-6, key
            assert found.value(key) == pytest.approx(float(loss.detach()) / common, rel=1e-6), (
                step,
                key,
            )
        for trained, total in ((own, found.total), (other, sum(wanted.values()))):
            trained.zero_grad()
            total.backward()  # type: ignore[union-attr]
        for (key, mine), theirs in zip(
            method.student.named_parameters(), written.student.parameters(), strict=True
        ):
            assert mine.grad is not None and theirs.grad is not None
            assert_equal(mine.grad, theirs.grad / common, key)
        own.step()
        other.step()
        method.after_update(step)
        written.follow(step)
        pairs = [(method.student, written.student)]
        pairs += [
            (one, written.teacher) for key, one in method.networks.items() if key != "student"
        ]
        if isinstance(written, recipes.Alternating):
            pairs.append((method.teacher.pair[1].network, written.pair[1]))
        assert len(pairs) > 1
        for network, transcribed in pairs:
            expected = transcribed.state_dict()
            for key, value in network.state_dict().items():
                assert_equal(value, expected[key], key)
    # Some pixels count and others do not, so that a selection shows.
    assert any(0 < share < 1 for share in written.shares) == (selection is not recipes.everything)
    moved = zip(before, method.student.parameters(), strict=True)
    assert max(float((one - then).detach().abs().max()) for then, one in moved) > 1e-4


# The networks of these tests are sure of little: thresholds are lower than in the recipes.
LOW = {"targets.threshold": 0.4}
SELECTING = {"targets.normalize": "valid", "teacher.decay": 0.996, "teacher.mode": "eval"} | {
    "mixing.mixer": "classmix",
    "augmentation.name": "per-image",
}


@pytest.mark.usefixtures("float64")
class TestSteps:
    def test_fixmatch(self) -> None:
        compare("semi_supervised", settings_of("fixmatch") | LOW, Recipe, recipes.above(0.4))

    def test_unimatch(self) -> None:
        changes = settings_of("unimatch") | {"targets.threshold": 0.3}
        compare("semi_supervised", changes, recipes.UniMatch, recipes.above(0.3))

    def test_unimatch_v2(self) -> None:
        changes = settings_of("unimatch_v2") | {"targets.threshold": 0.3}
        compare("semi_supervised", changes, recipes.UniMatchV2, recipes.above(0.3))

    def test_augseg(self) -> None:
        changes = settings_of("augseg")
        compare("semi_supervised", changes, recipes.AugSeg, recipes.everything)

    def test_thresholds_of_each_class(self) -> None:
        changes = settings_of("class_adaptive") | LOW
        changes |= {"targets.class_decay": 0.5}
        of_each = recipes.OfEachClass(CLASSES, 0.4, 0.5)
        compare("semi_supervised", changes, recipes.Selecting, of_each)

    def test_percentile(self) -> None:
        changes = SELECTING | {
            "targets.weighting": "percentile",
            "targets.dropped": 0.4,
            "targets.dropped_steps": 4,
        }
        compare("semi_supervised", changes, recipes.Selecting, recipes.low_entropy(0.4, 4))

    def test_neighbors(self) -> None:
        changes = SELECTING | {"targets.weighting": "neighbors", "targets.margin_kept": 0.6}
        compare("semi_supervised", changes, recipes.Selecting, recipes.supported_margin(0.6))

    def test_alignment_of_labels(self) -> None:
        wanted = (0.4, 0.3, 0.15, 0.1, 0.05)
        changes = SELECTING | {
            "targets.alignment": "labeled",
            "targets.alignment_of": "labels",
            "targets.weighting": "constant",
        }
        given = Given(distribution=torch.tensor(wanted))
        aligned = recipes.Aligned
        compare("semi_supervised", changes, aligned, recipes.everything, given, wanted=wanted)

    def test_alternating_teachers(self) -> None:
        changes = settings_of("fixmatch") | LOW
        changes |= {"teacher.name": "alternating", "teacher.turn": 2, "targets.threshold": 0.28}
        compare("semi_supervised", changes, recipes.Alternating, recipes.above(0.28))

    def test_a_frozen_teacher(self) -> None:
        changes = {
            key: one for key, one in settings_of("fixmatch").items() if key != "teacher.mode"
        }
        changes |= LOW | {"teacher.name": "frozen", "distillation.teacher": "/run"}
        given = Given(teacher=FixedTeacher(small_model(2), NAMES, NAMES))
        compare("semi_supervised", changes, recipes.Frozen, recipes.above(0.4), given)

    def test_pasting_from_labeled_images(self) -> None:
        changes = settings_of("fixmatch") | LOW
        changes |= {"mixing.mixer": "classmix", "mixing.pasted_from": "labeled"}
        changes = {
            key: one for key, one in changes.items() if key not in ("mixing.area", "mixing.aspect")
        }
        compare("semi_supervised", changes, recipes.FromLabeled, recipes.above(0.4))

    @pytest.mark.parametrize("labeled", [False, True])
    def test_daformer_and_mic(self, labeled: bool) -> None:
        changes = {
            **LOW,
            "targets.margin": (0.1, 4, 0, 0),
            "teacher.decay": 0.999,
            "terms": ("feature-distance", "masked"),
            "feature_distance.classes": ("1", "3", "4"),
            "masked.block": 8,
            "augmentation.color_jitter": 0.2,
            "augmentation.color_jitter_probability": 0.7,
        }
        recipe: type[Recipe] = recipes.DAFormerAndMIC
        if labeled:
            changes |= {"data.labeled_target": "1/4", "supervised_loss.target_weight": 0.5}
            recipe = recipes.WithTargetLabels
        needed = {"method": "domain_adaptation", "source_domain.dataset": "demo"}
        options = resolve_settings([], needed | changes).options
        compare(
            "domain_adaptation",
            changes,
            recipe,
            recipes.share_above(0.4),
            Given(class_names=NAMES),
            torch.optim.AdamW,
            options=options,
            things=(1, 3, 4),
        )
