"""The gradients of a step, however it is taken."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mixseg.config.resolve import resolve_settings
from mixseg.errors import ConfigError
from mixseg.methods import StepRandom
from mixseg.training.build import Given, build_learner
from mixseg.training.loop import Learner, running_statistics
from tests.methods.build import CLASSES, NEEDED, Stepped, batches, stepped

NETWORK = {
    "model.backbone": "test_resnet",
    "model.weights": "none",
    "model.batch_norm": "train",
    "training.precision": "fp32",
    "training.device": "cpu",
}


def learner_of(name: str, *, compiled: bool = False, joint: bool = False) -> Learner:
    changes = {"training.compile": compiled} | ({"model.joint_forward": True} if joint else {})
    settings = resolve_settings([], {"method": name, **NEEDED.get(name, {}), **NETWORK, **changes})
    learner, _ = build_learner(settings, CLASSES, Given())
    learner.method.student.train()
    return learner


def gradients(learner: Learner) -> list[Tensor]:
    return [one.grad.clone() for one in learner.method.student.parameters()]


@pytest.mark.parametrize("name", ["semi_supervised", "domain_adaptation"])
def test_backward_term_by_term_equals_one_backward(name: str) -> None:
    one, other = learner_of(name), learner_of(name)
    given = batches()
    found = one.gradients([given], 0)
    result = stepped(other.method, given, 0)
    torch.stack(list(result.losses.values())).sum().backward()
    for own, wanted in zip(gradients(one), gradients(other), strict=True):
        torch.testing.assert_close(own, wanted, rtol=1e-5, atol=1e-7)
    assert found.losses.keys() == result.losses.keys() == {"supervised", "consistency"}
    assert float(found.loss) == pytest.approx(sum(loss.item() for loss in result.losses.values()))
    assert torch.equal(found.logs["pseudo-labels"], result.logs["pseudo-labels"])


def test_only_one_graph_is_there_at_a_time() -> None:
    learner = learner_of("semi_supervised")
    student = learner.method.student
    kept: dict[int, int] = {}
    most = 0

    def pack(tensor: Tensor) -> Packed:
        return Packed(tensor, kept)

    def watch(module: nn.Module, inputs: object, output: object) -> None:
        nonlocal most
        most = max(most, sum(kept.values()))

    student.upsampling.register_forward_hook(watch)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda packed: packed.tensor):
        learner.gradients([batches()], 0)
        together = most
        most = 0
        stepped(learner.method, batches(), 0)
    assert together < 0.6 * most


class Packed:
    """A tensor that a graph keeps; it is counted for as long as it does."""

    def __init__(self, tensor: Tensor, kept: dict[int, int]) -> None:
        self.tensor, self.kept = tensor, kept
        kept[id(self)] = tensor.numel() * tensor.element_size()

    def __del__(self) -> None:
        self.kept.pop(id(self))


def test_nothing_to_compile_with_is_told_before_the_first_step(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ConfigError, match=r"training\.compile"):
        learner_of("semi_supervised", compiled=True)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_compiled_networks_compute_the_same() -> None:
    one, other = (learner_of("semi_supervised", compiled=flag) for flag in (False, True))
    assert one.method.student.state_dict().keys() == other.method.student.state_dict().keys()
    for step in range(2):
        found, wanted = (learner.gradients([batches(step)], step) for learner in (other, one))
        for name, loss in wanted.losses.items():
            torch.testing.assert_close(found.losses[name], loss, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(found.norm, wanted.norm, rtol=1e-3, atol=1e-6)
        for learner in (one, other):
            learner.set_rate(1.0)
            learner.update(step)


@pytest.mark.parametrize("name", ["semi_supervised", "domain_adaptation"])
def test_a_joint_forward_pass_is_the_same_step_but_for_batch_norm(name: str) -> None:
    one, other = learner_of(name), learner_of(name, joint=True)
    norms = [
        [layer for layer in learner.method.student.modules() if isinstance(layer, nn.BatchNorm2d)]
        for learner in (one, other)
    ]
    for layer in (*norms[0], *norms[1]):
        layer.eval()  # each image is then normalized by itself
    found, wanted = other.gradients([batches()], 0), one.gradients([batches()], 0)
    for key, value in wanted.losses.items():
        torch.testing.assert_close(found.losses[key], value)
    for own, expected in zip(gradients(other), gradients(one), strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-3, atol=1e-5)
    for layer in norms[1]:
        layer.train()
    other.gradients([batches()], 1)
    assert {int(layer.num_batches_tracked) for layer in norms[1]} == {1}, "it sees both at once"


def test_an_accumulated_step_logs_the_mean_of_its_micro_batches() -> None:
    one, other = learner_of("semi_supervised"), learner_of("semi_supervised")
    micro_batches = [batches(0), batches(1)]
    found = one.gradients(micro_batches, 0)
    results = []
    for number, given in enumerate(micro_batches):
        result = Stepped()
        random = StepRandom.of(other.seed, 0, number, torch.device("cpu"))
        result.logs = other.method.step(given, random, result)
        results.append(result)
    for name in ("supervised", "consistency"):
        wanted = sum(result.losses[name].item() for result in results) / 2
        assert float(found.losses[name]) == pytest.approx(wanted, rel=1e-5)
    assert float(found.logs["confident"]) == pytest.approx(
        sum(result.logs["confident"].item() for result in results) / 2
    )
    shares = torch.stack([result.logs["pseudo-labels"] for result in results]).mean(dim=0)
    torch.testing.assert_close(found.logs["pseudo-labels"], shares)
    assert one.is_finite(found)


def test_statistics_that_no_batch_has_moved_are_not_averaged() -> None:
    own = nn.InstanceNorm2d(2, track_running_stats=True)
    network = nn.Sequential(nn.BatchNorm2d(2), nn.BatchNorm2d(3), nn.SyncBatchNorm(4), own)
    network[1].eval()
    moved = [statistic for layer in network.modules() for statistic in running_statistics(layer)]
    wanted = [network[0].running_mean, network[0].running_var, own.running_mean, own.running_var]
    assert [id(one) for one in moved] == [id(one) for one in wanted]
    networks = learner_of("semi_supervised").method.networks
    assert not [one for layer in networks["teacher"].modules() for one in running_statistics(layer)]
    student = networks["student"]
    layers = [layer for layer in student.modules() if isinstance(layer, nn.BatchNorm2d)]
    found = [one for layer in student.modules() for one in running_statistics(layer)]
    assert len(found) == 2 * len(layers), "what normalizes the input is constant"
