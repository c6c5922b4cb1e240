"""One thread per process, one precision, and a cache of demo scenes that is nobody's own."""

from __future__ import annotations

import os
from collections.abc import Iterator

import hypothesis
import pytest
import torch

from tests import hardware

# How long an example takes depends on what else the machine does.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")
torch.set_num_threads(1)
hardware.auto_becomes(hardware.asked_for())


@pytest.fixture(scope="session", autouse=True)
def demo_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Without one in the environment, demo scenes go to a temporary folder of the session."""
    if "MIXSEG_CACHE" in os.environ:
        yield
        return
    os.environ["MIXSEG_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    del os.environ["MIXSEG_CACHE"]
