"""Weight files from elsewhere: what is read, what is refused, and that refusing loses nothing."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor
from torch.nn import functional

from mixseg.config.sections import ModelSettings
from mixseg.errors import CheckpointError, ConfigError
from mixseg.models import (
    ModelSpec,
    build_initial_model,
    build_model,
    load_weights,
    read_weight_file,
)
from tests.bombs import PICKLE_BOMBS
from tests.models.build import SMALL, small_model
from tests.models.original_deeplab import original_input, random_original

SETTINGS = ModelSettings(backbone="test_resnet", output_stride=16)


def initial(path: Path, num_classes: int = 5, **changes: object):  # type: ignore[no-untyped-def]
    settings = dataclasses.replace(SETTINGS, weights=str(path), **changes)  # type: ignore[arg-type]
    return build_initial_model(settings, {"model.rates": (1, 2)}, num_classes, seed=99)


def dense(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.detach().clone() for key, value in state.items()}


def save(path: Path, content: Any) -> Path:
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(content, path)
    else:
        torch.save(content, path)
    return path


def rezipped(
    whole: Path, packed: Path, others: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED
) -> Path:
    """An archive of torch with its members packed, some of them others than before."""
    with (
        zipfile.ZipFile(whole) as source,
        zipfile.ZipFile(packed, "w", method) as target,
    ):
        folder = source.namelist()[0].split("/")[0]
        for name in {*source.namelist(), *(f"{folder}/{one}" for one in others)}:
            other = others.get(name.removeprefix(f"{folder}/"))
            target.writestr(name, source.read(name) if other is None else other)
    return packed


@pytest.fixture
def state() -> dict[str, Tensor]:
    model = small_model(3)
    model.train()(torch.rand(2, 3, 32, 32))
    return dense(model.state_dict())


class TestRoundTrip:
    def test_all_weights_come_back(self, tmp_path: Path, state: dict[str, Tensor]) -> None:
        weights = {key for key in state if not key.endswith("num_batches_tracked")}
        for name in ("a.safetensors", "a.pth"):
            model, report = initial(save(tmp_path / name, state))
            loaded = model.state_dict()
            assert all(torch.equal(loaded[key], state[key]) for key in weights)
            assert report is not None
            assert report.head
            assert (report.missing, report.unexpected) == ((), ())
            assert set(report.matched) == weights

    def test_wrappers_and_prefixes(self, tmp_path: Path, state: dict[str, Tensor]) -> None:
        backbone = {key for key in state if key.startswith("backbone.") and "num_b" not in key}
        for wrapper in (None, "state_dict", "model_state_dict"):
            for prefix in ("", "module.backbone."):
                content: dict[str, Any] = {
                    prefix + key.removeprefix("backbone."): state[key] for key in backbone
                }
                content = content if wrapper is None else {wrapper: content, "epoch": 3}
                model, report = initial(save(tmp_path / "a.pth", content))
                assert report is not None
                assert not report.head
                assert set(report.matched) == backbone
                loaded = model.state_dict()
                assert all(torch.equal(loaded[key], state[key]) for key in backbone)

    def test_another_number_of_classes_leaves_the_classifier_random(
        self, tmp_path: Path, state: dict[str, Tensor]
    ) -> None:
        model, report = initial(save(tmp_path / "a.safetensors", state), num_classes=7)
        assert report is not None
        assert not report.head
        fresh, _ = initial(Path("none"), num_classes=7)
        for ours, theirs in zip(model.head.parameters(), fresh.head.parameters(), strict=True):
            assert torch.equal(ours, theirs)
        key = next(key for key in state if key.startswith("backbone."))
        assert torch.equal(model.state_dict()[key], state[key])

    def test_a_stated_hash_is_checked(self, tmp_path: Path, state: dict[str, Tensor]) -> None:
        path = save(tmp_path / "a.safetensors", state)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        initial(path, weights_sha256=digest.upper())
        with pytest.raises(CheckpointError, match=f"SHA-256 is {digest}"):
            initial(path, weights_sha256="0" * 64)

    def test_weights_of_other_types_and_packed_archives(
        self, tmp_path: Path, state: dict[str, Tensor]
    ) -> None:
        key = next(key for key in state if key.startswith("backbone."))
        for dtype in (torch.float16, torch.bfloat16, torch.float64):
            content = {
                name: value.to(dtype) if value.is_floating_point() else value
                for name, value in state.items()
            }
            whole = save(tmp_path / "whole.pth", content)
            for path in (whole, rezipped(whole, tmp_path / "packed.pth", {})):
                model, _ = initial(path)
                assert torch.equal(model.state_dict()[key], content[key].float())


class TestOriginalDeepLab:
    """resnet26 has the blocks (2, 2, 2, 2) of bottlenecks: the smallest of the family."""

    SETTINGS = ModelSettings(backbone="resnet26", output_stride=8)

    @pytest.mark.parametrize("prefix", ["", "Scale.", "module.Scale."])
    def test_gives_what_the_original_network_gives(self, tmp_path: Path, prefix: str) -> None:
        original = random_original((2, 2, 2, 2), classes=4)
        content = {
            prefix + key: value
            for key, value in original.state_dict().items()
            if not key.endswith("num_batches_tracked")  # older than the counter
        }
        path = save(tmp_path / "a.pth", content)
        settings = dataclasses.replace(self.SETTINGS, weights=str(path))
        model, report = build_initial_model(settings, {}, 4, seed=0)
        assert report is not None
        assert report.head
        assert report.missing == report.unexpected == ()
        model.eval()
        again = build_model(ModelSpec.from_json(model.spec.to_json())).eval()
        again.load_state_dict(model.state_dict())
        # Sizes at which rounding up and rounding down differ.
        for size in ((64, 64), (65, 81), (50, 70)):
            images = torch.rand(1, 3, *size)
            with torch.inference_mode():
                small = original(original_input(images))
                expected = functional.interpolate(
                    small, size=size, mode="bilinear", align_corners=True
                )
                found = model(images)
                assert (
                    model.backbone(model.normalisation(images))[-1].shape[-2:] == small.shape[-2:]
                )
                assert torch.equal(again(images), found)
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * expected.std())

    def test_needs_bottlenecks(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.pth", dict(random_original((1, 1, 1, 1), 4).state_dict()))
        settings = ModelSettings(backbone="resnet18", weights=str(path))
        with pytest.raises(ConfigError, match=r"bottleneck.*resnet101"):
            build_initial_model(settings, {}, 4, seed=0)


def header(content: bytes, length: int | None = None) -> bytes:
    """The beginning of a safetensors file."""
    return struct.pack("<Q", len(content) if length is None else length) + content


CLAIM = json.dumps({"x": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
BROKEN: list[tuple[str, Any, str]] = [
    *(
        ("a.safetensors", content, "damaged")
        for content in (
            *(header(b"", 2**63), header(b"{}", 10**8), header(b"{", 2), b"", bytes(7)),
            *(header(b"null"), header(CLAIM) + bytes(16)),
        )
    ),
    ("a.pth", {}, "no tensors"),
    ("a.pth", [torch.zeros(1)], "dictionary"),
    *(("a.pth", {"b": one}, "'b' holds") for one in ("text", {"a": torch.zeros(1)})),
    ("a.pth", {1: torch.zeros(1)}, "'1' holds"),
    ("a.pth", {f"k{index}": torch.zeros(1) for index in range(20_001)}, "20001 keys"),
    ("a.pth", {"b": torch.eye(3).to_sparse()}, "'b' is not a dense"),
    ("a.pth", {"b": torch.empty(2, device="meta")}, "'b' is not a dense"),
    ("a.bin", b"x", r"\.safetensors, \.pth or \.pt"),
]
"""Name of a file, its content, and what the error says; bytes are written as they are."""


class TestRefused:
    """Nothing is executed, nothing is copied, and the message says why."""

    def test_files_that_hold_no_named_dense_tensors(
        self, tmp_path: Path, state: dict[str, Tensor]
    ) -> None:
        for name, content, message in BROKEN:
            path = tmp_path / name
            if isinstance(content, bytes):
                path.write_bytes(content)
            else:
                save(path, content)
            with pytest.raises(CheckpointError, match=rf"{name}.*{message}"):
                read_weight_file(str(path))
        for name in ("b.pth", "b.safetensors"):
            path = save(tmp_path / name, state)
            path.write_bytes(path.read_bytes()[:-1000])
            with pytest.raises(CheckpointError, match=f"{name}.*damaged"):
                read_weight_file(str(path))
        for source in (str(tmp_path / "c.pth"), "https://example.org/a.pth", "ftp://x/a.pth"):
            with pytest.raises(CheckpointError, match=source):
                build_initial_model(dataclasses.replace(SETTINGS, weights=source), {}, 5, 0)

    @pytest.mark.parametrize("kind", [".pth", ".safetensors"])
    def test_numbers_that_are_no_weights_and_keys_of_one_tensor(
        self, tmp_path: Path, state: dict[str, Tensor], kind: str
    ) -> None:
        path = tmp_path / f"a{kind}"
        key = next(key for key in state if key.startswith("backbone.") and state[key].dim() == 4)
        for dtype in ("int64", "uint8", "bool", "complex64", "float8_e4m3fn"):
            if kind == ".safetensors" and getattr(torch, dtype) not in safetensors.torch._SIZE:
                continue  # earlier versions of safetensors write no complex numbers
            save(path, state | {key: state[key].to(getattr(torch, dtype))})
            with pytest.raises(CheckpointError, match=rf"{key}.* {dtype}"):
                initial(path)
        bare = {name.removeprefix("backbone."): value for name, value in state.items()}
        key = key.removeprefix("backbone.")
        for prefix in ("module.", "module.backbone."):
            save(path, bare | {prefix + key: torch.zeros_like(bare[key])})
            with pytest.raises(CheckpointError) as caught:
                read_weight_file(str(path))
            assert repr(key) in str(caught.value)
            assert repr(prefix + key) in str(caught.value)

    @staticmethod
    def refused(tensors: Mapping[str, Tensor], message: str) -> None:
        model = small_model(0)
        before = dense(model.state_dict())
        with pytest.raises(CheckpointError, match=message):
            load_weights(model, tensors, "file")
        after = model.state_dict()
        assert all(torch.equal(before[key], after[key]) for key in before)

    def test_too_few_keys_wrong_shapes_and_numbers_that_are_not_finite(
        self, state: dict[str, Tensor]
    ) -> None:
        backbone = [key for key in state if key.startswith("backbone.") and "num_b" not in key]
        enough, few = int(0.95 * len(backbone)), int(0.85 * len(backbone))
        report = load_weights(small_model(0), {key: state[key] for key in backbone[:enough]}, "f")
        assert list(report.missing) == backbone[enough:]
        kept = {key: state[key] for key in backbone[:few]} | {"something.else": torch.zeros(1)}
        self.refused(kept, rf"90 %.*Missing \({backbone[few]}.*unexpected \(something\.else\)")
        key = [key for key in backbone if state[key].dim() == 4][-1]
        other = torch.zeros(3, *state[key].shape[1:])
        self.refused(state | {key: other}, rf"another shape.*{key}: \(3,")
        for value in (math.nan, math.inf, -math.inf, 1e300):
            broken = state[key].double()  # 1e300 becomes infinite only in the network
            broken.view(-1)[:3] = value
            self.refused(state | {key: broken}, rf"{key}.*holds 3 numbers of {broken.numel()}")

    def test_a_deeper_network_of_the_same_family(self, tmp_path: Path) -> None:
        # All of the shallow network's keys are in the deep one's file.
        shallow, deep = (
            build_model(dataclasses.replace(SMALL, backbone=name))
            for name in ("resnet26", "resnet50")
        )
        content = dense(deep.backbone.state_dict())
        assert set(shallow.backbone.state_dict()) <= set(content)
        for prefix in ("", "backbone."):
            named = {prefix + key: value for key, value in content.items()}
            tensors = read_weight_file(str(save(tmp_path / "resnet50.pth", named)))
            with pytest.raises(CheckpointError, match="90 % are needed"):
                load_weights(shallow, tensors, "resnet50.pth")

    @pytest.mark.parametrize("zipped", [True, False])
    @pytest.mark.filterwarnings("ignore:Detected pickle protocol")
    def test_a_pickle_that_runs_code(self, tmp_path: Path, zipped: bool) -> None:
        witness = tmp_path / "executed"

        class Payload:
            def __reduce__(self) -> tuple[object, ...]:
                return Path.touch, (witness,)

        path = tmp_path / "evil.pth"
        content = {"conv1.weight": torch.zeros(1), "extra": Payload()}
        if zipped:
            torch.save(content, path)
        else:
            path.write_bytes(pickle.dumps(content))
        with pytest.raises(CheckpointError, match="unsafe"):
            initial(path)
        assert not witness.exists()
        if not zipped:  # the payload itself works
            pickle.loads(path.read_bytes())
            assert witness.exists()

    def test_one_tensor_for_two_keys(self) -> None:
        """A backbone's file does not fill a head whose tensor has the same name and shape."""

        class Network(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.backbone, self.head = (
                    torch.nn.ModuleDict({"conv": torch.nn.Conv2d(2, 2, 1)}) for _ in range(2)
                )

        network = Network()
        before = network.head["conv"].weight.clone()
        tensors = {
            f"conv.{one}": torch.ones(shape)
            for one, shape in (("weight", (2, 2, 1, 1)), ("bias", (2,)))
        }
        assert not load_weights(network, tensors, "file").head
        assert torch.equal(network.head["conv"].weight, before)
        assert bool((network.backbone["conv"].weight == 1).all())

    @pytest.mark.parametrize("zipped", [True, False])
    @pytest.mark.parametrize("bomb", PICKLE_BOMBS, ids=PICKLE_BOMBS)
    def test_pickles_that_never_end(self, tmp_path: Path, bomb: str, zipped: bool) -> None:
        path = tmp_path / "a.pth"
        path.write_bytes(PICKLE_BOMBS[bomb])
        if zipped:
            save(tmp_path / "whole.pth", {"a": torch.zeros(3)})
            others = {"data.pkl": PICKLE_BOMBS[bomb]}
            rezipped(tmp_path / "whole.pth", path, others, zipfile.ZIP_STORED)
        with pytest.raises(CheckpointError, match=r"a\.pth: unsafe"):
            read_weight_file(str(path))

    def test_an_archive_that_unpacks_to_far_more(self, tmp_path: Path) -> None:
        save(tmp_path / "whole.pth", {"a": torch.zeros(3)})
        rezipped(tmp_path / "whole.pth", tmp_path / "a.pth", {"data/1": bytes(10**7)})
        assert (tmp_path / "a.pth").stat().st_size < 10**5
        with pytest.raises(CheckpointError, match=r"a\.pth: unsafe"):
            read_weight_file(str(tmp_path / "a.pth"))

    @pytest.mark.parametrize(("zipped", "count"), [(True, 20_000), (False, 100)])
    def test_a_large_training_checkpoint_is_no_bomb(
        self, tmp_path: Path, zipped: bool, count: int
    ) -> None:
        # Far more than any network has, some of Adam beside it, and what else people save.
        one = torch.zeros(1)
        content = {
            "state_dict": {f"module.stage.{index}.weight": one for index in range(count)},
            "optimizer": {
                "state": {
                    index: {"step": index, "exp_avg": one, "exp_avg_sq": one}
                    for index in range(1000)
                },
                "param_groups": [{"params": list(range(count)), "betas": (0.9, 0.999)}],
            },
            "config": {"a" * 1000: ["text" * 100] * 100, "nested": {"a": {"b": {"c": (1, 2)}}}},
            "random": tuple(range(625)),
        }
        path = tmp_path / "a.pth"
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        assert len(read_weight_file(str(path))) == count
