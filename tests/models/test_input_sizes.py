"""Sizes that a network does not take are refused by shapes alone, with others that it takes."""

from __future__ import annotations

import re

import pytest
import torch

from mixseg.errors import ConfigError
from mixseg.models import SegmentationModel, check_input_sizes
from tests.models.build import small_model


def untouched(network: SegmentationModel, sizes: list[tuple[int, int]]) -> ConfigError | None:
    """The error of a check that leaves everything as it was."""
    random = torch.get_rng_state()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    caught = None
    try:
        check_input_sizes(network, sizes)
    except ConfigError as error:
        caught = error
    assert torch.equal(torch.get_rng_state(), random)
    assert [module.training for module in network.modules()] == modes
    after = network.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    return caught


def test_sizes_that_work() -> None:
    for training in (True, False):
        network = small_model().train(training)
        assert untouched(network, [(64, 64), (33, 65), (1, 1)]) is None


@pytest.mark.parametrize(
    ("backbone", "taken"), [("maxvit_rmlp_pico_rw_256", 256), ("coatnet_pico_rw_224", 224)]
)
def test_the_message_names_sizes_that_work(backbone: str, taken: int) -> None:
    network = small_model(backbone=backbone, output_stride=32)
    error = untouched(network.train(), [(taken, taken), (64, 64)])
    assert backbone in str(error)
    refused, *named = re.findall(r"(\d+)x(\d+)", str(error))
    assert refused == ("64", "64")
    with torch.no_grad():
        network.eval()(torch.zeros(1, 3, *map(int, named[0])))
        with pytest.raises((AssertionError, RuntimeError)):
            network(torch.zeros(1, 3, 64, 64))
