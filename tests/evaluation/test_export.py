"""Exported networks: what is in the program, and that it is compared with the network."""

from __future__ import annotations

import dataclasses
import importlib.util
import io
from pathlib import Path

import pytest
import torch

from mixseg.errors import CheckpointError, ConfigError
from mixseg.evaluation.export import (
    EXPORT_FORMATS,
    chosen_format,
    export_network,
    largest_difference,
)
from mixseg.models import ModelSpec, SegmentationModel, build_model

SIZE = (35, 66)


def network(architecture: str, backbone: str, stride: int) -> SegmentationModel:
    statistics = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
    options = {"model.rates": (1, 2)} if architecture == "deeplabv2" else {}
    spec = ModelSpec(architecture, backbone, 5, stride, False, *statistics, "bgr", options=options)
    torch.manual_seed(0)
    return build_model(spec).eval()


@pytest.fixture(scope="module")
def tiny() -> SegmentationModel:
    return network("deeplabv2", "test_resnet", 16)


@pytest.mark.parametrize(
    ("architecture", "backbone", "stride"),
    [
        ("deeplabv2", "test_resnet", 16),
        # Dilated depthwise convolutions.
        pytest.param("deeplabv2", "mobilenetv3_small_050", 16, marks=pytest.mark.slow),
        pytest.param("enet", "none", 8, marks=pytest.mark.slow),
    ],
)
def test_programs_give_the_logits_of_their_networks(
    architecture: str, backbone: str, stride: int
) -> None:
    model = network(architecture, backbone, stride)
    content = export_network(model, SIZE, "torch-export", "{}")
    difference = largest_difference(model, content, SIZE, "torch-export")
    assert difference is not None and difference < 1e-4
    program = torch.export.load(io.BytesIO(content))
    operations = {str(node.target) for node in program.graph.nodes}
    # Forms of a convolution that other programs may not know, and that a CPU alone is faster with.
    assert not {name for name in operations if "col2im" in name or "im2col" in name}
    calls = [node for node in program.graph.nodes if node.op == "call_function"]
    batches = {str(node.meta["val"].shape[0]) for node in calls if "conv" in str(node.target)}
    assert len(batches) == 1  # no phases of images, whose number is that of the batch many times
    # Another batch, while the network itself is as it was.
    images = torch.rand(3, 3, *SIZE)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(images), model(images), atol=1e-4, rtol=1e-4)


def test_a_program_that_computes_something_else_is_refused(
    tiny: SegmentationModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    off = dataclasses.replace(
        EXPORT_FORMATS["torch-export"], load=lambda content: lambda images: tiny(images) + 0.5
    )
    monkeypatch.setitem(EXPORT_FORMATS, "torch-export", off)
    with pytest.raises(CheckpointError, match=r"0\.5"):
        largest_difference(tiny, b"", SIZE, "torch-export")


@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript")),
    reason="onnx and onnxscript are not both installed",
)
@pytest.mark.slow  # its packages take seconds to import
def test_onnx(tiny: SegmentationModel) -> None:
    import onnx

    content = export_network(tiny, SIZE, "onnx", "{}")
    difference = largest_difference(tiny, content, SIZE, "onnx")
    runs = importlib.util.find_spec("onnxruntime") is not None
    assert difference < 1e-4 if runs else difference is None
    graph = onnx.load_from_string(content).graph
    shapes = {
        value.name: [one.dim_param or one.dim_value for one in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }
    assert shapes == {"images": ["batch", 3, *SIZE], "logits": ["batch", 5, *SIZE]}
    inside = {
        one.dim_param
        for value in graph.value_info
        for one in value.type.tensor_type.shape.dim
        if one.dim_param
    }
    assert all("batch" in name for name in inside)


def test_the_ending_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    for name, asked_for, expected in (
        ("a.pt2", None, "torch-export"),
        ("folder.onnx/a.b.PT2", "torch-export", "torch-export"),
        ("a.onnx", None, "onnx"),
        ("a.onnx", "onnx", "onnx"),
    ):
        assert chosen_format(Path(name), asked_for) == expected
    for name, asked_for in (
        ("a.onnx", "torch-export"),
        ("a.pt2", "onnx"),
        ("a.bin", None),
        (".onnx", None),
        ("a.onnx", "onx"),
    ):
        with pytest.raises(ConfigError, match=r"--(format|output)"):
            chosen_format(Path(name), asked_for)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert chosen_format(Path("a.pt2"), None) == "torch-export"
    with pytest.raises(ConfigError, match=r"pip install 'mixseg\[export\]'"):
        chosen_format(Path("a.onnx"), None)
