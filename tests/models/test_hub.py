"""Where the hub does not answer, it is asked once, and the message says what to do."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest
from huggingface_hub import constants

from mixseg.config.sections import ModelSettings
from mixseg.errors import CheckpointError
from mixseg.models import build_initial_model, hub


@pytest.fixture
def lookups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """A machine without a network and without weights; names that are looked up land here."""
    asked: list[object] = []

    def fail(*arguments: object, **options: object) -> None:
        asked.append(arguments[0])
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", fail)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return asked


def test_weights_without_a_network(lookups: list[object]) -> None:
    settings = ModelSettings(backbone="test_resnet", output_stride=16, weights="imagenet")
    with pytest.raises(CheckpointError, match=r"test_resnet.*--weights"):
        build_initial_model(settings, {}, 3, seed=0)
    assert len(lookups) <= 1
    assert not constants.HF_HUB_OFFLINE


def test_a_hub_that_is_silent(lookups: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: released.wait(60))
    monkeypatch.setattr(hub, "PATIENCE", 0.05)
    with pytest.raises(ZeroDivisionError), hub.one_attempt():
        assert constants.HF_HUB_OFFLINE
        _ = 1 / 0
    released.set()
    assert not constants.HF_HUB_OFFLINE
