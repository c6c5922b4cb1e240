"""Runs of every method compute what they did when the record was made, on any processor."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.golden.record import CASES, RECORD, differences, recorded, write_data


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("golden")
    write_data(path)
    return path


@pytest.mark.parametrize("name", CASES)
def test_as_recorded(name: str, folder: Path) -> None:
    wanted = json.loads(RECORD.read_text())[name]
    assert not list(differences(recorded(name, folder), wanted))
