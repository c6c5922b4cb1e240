"""What ``auto`` becomes on a CPU, and that a run stays in it."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import pytest
import torch
from rich.console import Console

from mixseg.config import Settings
from mixseg.engine.precision import choose_precision
from mixseg.engine.step_times import clearly_faster, step_times
from mixseg.errors import CheckpointError, ConfigError
from mixseg.training import precision
from mixseg.training.precision import precision_of_run
from tests import hardware
from tests.models.build import small_model

CPU, SIZE = torch.device("cpu"), (32, 64)
AUTO = Settings()


def said(settings: Settings, recorded: Path | None, *, measure: bool = True) -> tuple[str, str]:
    """The precision, and what was printed."""
    text = io.StringIO()
    console = Console(file=text, width=200)
    choose = precision_of_run(settings, SIZE, console, recorded, measure=measure)
    return choose(small_model(), CPU).name, text.getvalue()


@pytest.mark.parametrize("in_hardware", [True, False])
def test_the_choice_is_printed_and_kept(
    in_hardware: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hardware.with_bf16(in_hardware, monkeypatch.setattr)
    monkeypatch.setattr(precision, "step_times", step_times)  # emulated where need be
    monkeypatch.setattr("mixseg.engine.step_times.BUDGET", 0.1)
    file = tmp_path / "precision.json"
    name, text = said(AUTO, file)
    content = json.loads(file.read_text())
    assert content["precision"] == name
    assert text.startswith(f"precision {name}: ")
    if in_hardware:
        assert content["seconds"].keys() == {"fp32", "bf16"}
        assert name == clearly_faster(content["seconds"])
    else:
        assert (name, content["seconds"]) == ("fp32", {})
    assert len(text.splitlines()) == 1


def test_what_is_clearly_faster_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hardware.auto_becomes("bf16", monkeypatch.setattr)
    name, text = said(AUTO, tmp_path / "precision.json")
    assert name == "bf16"
    assert text.startswith("precision bf16: clearly faster")


@pytest.mark.parametrize("name", ["fp32", "bf16"])
@pytest.mark.parametrize("measure", [True, False])
def test_what_is_kept_is_not_asked_again(name: str, measure: bool, tmp_path: Path) -> None:
    file = tmp_path / "precision.json"
    file.write_text(json.dumps({"precision": name}))
    assert said(AUTO, file, measure=measure) == (name, "")
    assert json.loads(file.read_text()) == {"precision": name}


def test_a_run_without_a_record_goes_on_by_the_rule_of_its_time(tmp_path: Path) -> None:
    file = tmp_path / "precision.json"
    name, text = said(AUTO, file, measure=False)
    assert (name, text) == (choose_precision("auto", CPU, small_model()).name, "")
    assert json.loads(file.read_text())["precision"] == name


@pytest.mark.parametrize("name", ["fp32", "bf16"])
def test_a_name_is_taken_at_its_word(name: str, tmp_path: Path) -> None:
    file = tmp_path / "precision.json"
    training = dataclasses.replace(AUTO.training, precision=name)  # type: ignore[arg-type]
    assert said(dataclasses.replace(AUTO, training=training), file) == (name, "")
    assert not file.exists()


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"precision": "fp8"}', '{"precision": 1}'])
def test_a_damaged_record(content: str, tmp_path: Path) -> None:
    file = tmp_path / "precision.json"
    file.write_text(content)
    with pytest.raises(CheckpointError, match=r"precision\.json: damaged.*fp32, bf16, fp16"):
        said(AUTO, file)


@pytest.mark.filterwarnings("ignore:.*GradScaler is enabled")
@pytest.mark.parametrize(("has_bf16", "name"), [(True, "bf16"), (False, "fp16")])
def test_gpus_go_by_their_hardware_and_stay_in_what_a_run_began_in(
    has_bf16: bool, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def supported(including_emulation: bool = True) -> bool:
        return has_bf16 or including_emulation  # torch emulates it on older GPUs

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    file = tmp_path / "precision.json"
    gpu, console = torch.device("cuda"), Console(quiet=True)
    for _ in range(2):
        assert precision_of_run(AUTO, SIZE, console, file)(small_model(), gpu).name == name
        assert json.loads(file.read_text())["precision"] == name
    file.write_text(json.dumps({"precision": "bf16"}))
    choose = precision_of_run(AUTO, SIZE, console, file)
    if has_bf16:
        assert choose(small_model(), gpu).name == "bf16"
    else:
        with pytest.raises(ConfigError, match=r"in bf16, .*--precision fp16 --allow-changes"):
            choose(small_model(), gpu)


def test_a_run_in_fp16_does_not_go_on_on_a_cpu(tmp_path: Path) -> None:
    file = tmp_path / "precision.json"
    file.write_text(json.dumps({"precision": "fp16"}))
    with pytest.raises(ConfigError, match=r"in fp16, .*--precision fp32 --allow-changes"):
        said(AUTO, file)
