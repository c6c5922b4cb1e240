"""Exported networks: what is in the program, and that it is compared with the network."""

from __future__ import annotations

import importlib.util
import io

import pytest
import torch
from torch import Tensor

from mixseg.errors import CheckpointError, ConfigError
from mixseg.export import EXPORT_FORMATS, check_format, export_network, largest_difference
from mixseg.models import ModelSpec, SegmentationModel, build_model

SIZE = (35, 66)


def network(architecture: str, backbone: str, stride: int) -> SegmentationModel:
    statistics = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
    spec = ModelSpec(architecture, backbone, 5, stride, (1, 2), False, *statistics, "bgr")
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
    class Off:
        encode = None

        @staticmethod
        def load(content: bytes):
            def run(images: Tensor) -> Tensor:
                return tiny(images) + 0.5

            return run

    monkeypatch.setitem(EXPORT_FORMATS, "torch-export", Off)
    with pytest.raises(CheckpointError, match=r"differ from the network's by 0\.5.*--format"):
        largest_difference(tiny, b"", SIZE, "torch-export")


def test_onnx_without_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"onnx and onnxscript .*pip install 'mixseg\[export\]'"):
        check_format("onnx")
    check_format("torch-export")


@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="onnx, onnxscript and onnxruntime are not all installed",
)
def test_onnx(tiny: SegmentationModel) -> None:
    content = export_network(tiny, SIZE, "onnx", "{}")
    difference = largest_difference(tiny, content, SIZE, "onnx")
    assert difference is not None and difference < 1e-4
