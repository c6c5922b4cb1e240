"""Several processes that train as one, over gloo."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
import yaml

from tests.end_to_end.processes import (
    RUN,
    TOOLS,
    Finished,
    Launcher,
    assert_same_run,
    group_ok,
    metrics,
    refused,
    run_group,
    start_group,
    tree,
)

SCRIPT = """
import hashlib, json, os, sys
from pathlib import Path
from mixseg.config.resolve import resolve_settings
from mixseg.distributed import joined, world
from mixseg.training.stages import plan_stages
from mixseg.training.build import learner_of_run
from mixseg.training.data import RunData
from mixseg.training.streams import build_streams

def digest(network):
    content = b"".join(one.numpy().tobytes() for one in network.state_dict().values())
    return hashlib.sha256(content).hexdigest()

with joined():
    settings = resolve_settings([Path(sys.argv[1])], json.loads(sys.argv[2]))
    run_data = RunData(settings)
    data = run_data.with_class_pixels(run_data.training())
    learner = learner_of_run(settings, data, None)
    stages = plan_stages((), settings.data, settings.training, len(data.split.labeled))
    streams = build_streams(
        data, settings.labeled_section, settings.data, stages, learner.method, settings.sampling,
        seed=settings.seed, accumulate=1,
    )
    batches = {name: stream(0, 3) for name, stream in streams.items()}
    learner.method.student.train()
    ids = []
    for step in range(3):
        part = {name: next(one) for name, one in batches.items()}
        ids += [part[name].ids for name in sorted(part)]
        learner.gradients([part], step)
        learner.update(step)
    networks = dict(learner.method.networks)
    for regularizer in learner.regularizers:
        networks |= regularizer.networks
    found = {"ids": ids, "networks": {name: digest(one) for name, one in networks.items()}}
    Path(f"rank-{world().rank}.json").write_text(json.dumps(found))
"""


PIXELS = 2 * 64 * 128
"""Of the unlabeled images of a step."""

METHODS: dict[str, tuple[str, Sequence[object]]] = {
    "soft targets, alignment, cowmix, mixup of labels": (
        "train_ssl",
        (
            *("--mixer", "cowmix", "--targets.kind", "soft", "--targets.alignment", "labeled"),
            *("--mixing.labeled", "mixup"),
        ),
    ),
    "accumulated, classmix of labels, counted losses": (
        "train_supervised",
        (
            *("--mixing.labeled", "classmix", "--training.accumulate", 2),
            *("--loss", "balanced-cross-entropy + focal + 0.5*dice"),
        ),
    ),
    "domain adaptation, jitter of each image": (
        "train_uda",
        (
            *("--source", "demo", "--augmentation.color_jitter", 0.25),
            *("--augmentation.color_jitter_probability", 1, "--augmentation.per", "image"),
            # Strong colors make large gradients; steps that are as large let rounding grow.
            *("--lr", 1e-4),
        ),
    ),
    "boxes by area, augmentation of each image": (
        "train_ssl",
        (
            *("--mixer", "cutmix", "--mixing.area", "0.1,0.4"),
            *("--augmentation.name", "per-image", "--lr", 1e-4),
        ),
    ),
    "pairs of views, masked images, thresholds of classes": (
        "train_ssl",
        (
            *("--views.count", 2, "--views.channel_dropout", "complementary"),
            *("--terms", "masked", "--masked.block", 16, "--mixing.probability", 0.5),
            *("--targets.weighting", "class-adaptive", "--targets.class_decay", 0.5),
            *("--targets.threshold", 0.3, "--targets.normalize", "valid", "--lr", 1e-4),
        ),
    ),
    "source and labeled target images, pasted in each domain": (
        "train_uda",
        (
            *("--source", "demo", "--source-only", "--labeled-target", "1/4"),
            *("--mixing.labeled", "classmix", "--data.batch_target", 4),
        ),
    ),
}
STEPS = 3


@pytest.mark.parametrize("method", [*METHODS, pytest.param("distillation", marks=pytest.mark.slow)])
def test_two_processes_are_one_with_twice_the_batch(
    method: str, frozen: Path, reference: Path, launch: Launcher, tmp_path: Path
) -> None:
    if method == "distillation":
        weights = yaml.safe_load(frozen.read_text())["model"]["weights"]
        student = ("--student", "test_resnet", "--weights", weights, "--distillation.pairwise", 0.5)
        tool, more = "distill", ("--teacher", reference, *student)
    else:
        tool, more = METHODS[method]
    common = ("--config", frozen, "--output", "out", "--iterations", STEPS, *more)
    launch.ok(tool, *common, "--name", "one")
    group_ok(launch, tool, *common, "--name", "two")
    one, two = (metrics(tmp_path / "out" / name) for name in ("one", "two"))
    assert len(one) == len(two) > STEPS
    for alone, together in zip(one, two, strict=True):
        assert together.keys() == alone.keys()
        for key, value in alone.items():
            # Sums in another order may tip pixels whose classes are almost equally probable.
            counts_pixels = key.startswith(("confident", "pseudo-labels/"))
            tolerance = 4 / PIXELS if counts_pixels else 1e-4
            assert together[key] == pytest.approx(value, rel=1e-4, abs=tolerance, nan_ok=True), key
    if method == "distillation":  # what comes after training is the first process's affair
        assert (tmp_path / "out" / "two" / "distillation.json").is_file()


def test_all_processes_have_the_same_networks_and_other_images(
    config: Path, launch: Launcher, tmp_path: Path
) -> None:
    script = tmp_path / "steps.py"
    script.write_text(SCRIPT)
    changes = {
        "regularizer": "adversarial-temperature",
        "teacher.buffers": "own",
        "sampling.name": "rare",
        "sampling.min_pixels": 200,
    }
    group_ok(launch, script, config, json.dumps(changes))
    first, second = (json.loads((tmp_path / f"rank-{k}.json").read_text()) for k in (0, 1))
    assert sorted(first["networks"]) == ["discriminator", "student", "teacher"]
    assert first["networks"] == second["networks"]
    launch.ok(script, config, json.dumps(changes))
    whole = json.loads((tmp_path / "rank-0.json").read_text())["ids"]
    assert [a + b for a, b in zip(first["ids"], second["ids"], strict=True)] == whole


AUGMENTED = """
import sys
import torch
from mixseg.distributed import joined, own_shard, world
from mixseg.registry import AUGMENTATIONS

with joined():
    whole = torch.rand(6, 3, 21, 34, generator=torch.Generator().manual_seed(0))
    found = {}
    for name in AUGMENTATIONS:
        options = {"augmentation.color_jitter": 0.5, "augmentation.per": "image"}
        random = torch.Generator().manual_seed(3)
        augment = AUGMENTATIONS.build(name, options)
        found[name] = [augment(own_shard(whole), random) for _ in range(4)]
    torch.save(found, f"{world().size}-{world().rank}.pt")
"""


def test_shards_are_augmented_as_the_whole_batch_is(launch: Launcher, tmp_path: Path) -> None:
    script = tmp_path / "augment.py"
    script.write_text(AUGMENTED)
    group_ok(launch, script)
    launch.ok(script)
    whole, first, second = (torch.load(tmp_path / f"{key}.pt") for key in ("1-0", "2-0", "2-1"))
    assert len(whole) > 2
    for name, batches in whole.items():
        for expected, *shards in zip(batches, first[name], second[name], strict=True):
            torch.testing.assert_close(torch.cat(shards), expected, rtol=0, atol=1e-6)


def arguments(config: Path, *more: object) -> tuple[object, ...]:
    return ("--config", config, *RUN, *more)


def folders(parent: Path, *names: str) -> list[Path]:
    for name in names:
        (parent / name).mkdir()
    return [parent / name for name in names]


@pytest.mark.slow
def test_a_stopped_run_goes_on_as_if_nothing_had_been(
    config: Path, launch: Launcher, tmp_path: Path
) -> None:
    # Dropout, so that the generators of both processes matter.
    drop = ("--set", "model.architecture=enet", "model.backbone=none", "model.output_stride=8")
    whole, parts = folders(tmp_path, "whole", "parts")
    group_ok(launch, "train_ssl", *arguments(config, *drop), cwd=whole)
    processes = start_group(launch, "train_ssl", *arguments(config, *drop), cwd=parts)
    checkpoints = parts / "out/run" / "checkpoints"
    processes[0].until((checkpoints / "step-00000002").is_dir)
    processes[1].kill(signal.SIGTERM)  # one hears it, both save and end
    for process in processes:
        assert process.wait().code == 143
    _, second = group_ok(launch, "train_ssl", "--resume", "out/run", cwd=parts)
    assert second.out == ""
    assert_same_run(whole / "out/run", parts / "out/run")


def test_a_run_goes_on_with_another_number_of_processes(
    frozen: Path, launch: Launcher, tmp_path: Path
) -> None:
    one, other = folders(tmp_path, "one", "other")
    for folder, steps in ((one, 4), (other, 2)):
        launch.ok("train_ssl", *arguments(frozen, "--iterations", steps), cwd=folder)
    more = ("--resume", "out/run", "--iterations", 4, "--allow-changes")
    group_ok(launch, "train_ssl", *more, cwd=other)
    scores = [
        json.loads((folder / "out/run" / "summary.json").read_text())["last"]["student"]
        for folder in (one, other)
    ]
    assert scores[0]["miou"] == pytest.approx(scores[1]["miou"], abs=0.02)


def test_evaluation_and_prediction_are_divided(
    reference: Path, launch: Launcher, tmp_path: Path
) -> None:
    common = (reference, "--save-predictions")
    alone = launch.ok("evaluate", *common, "one", "--json", "one.json")
    done = group_ok(launch, "evaluate", *common, "two", "--json", "two.json")
    said = [[line for line in one.out.splitlines() if "[Gloo]" not in line] for one in done]
    assert said == [alone.out.splitlines(), []]  # but for what some versions of torch print
    assert (tmp_path / "one.json").read_text() == (tmp_path / "two.json").read_text()
    assert tree(tmp_path / "one") == tree(tmp_path / "two")

    photographs = tmp_path / "one" / "student"
    first, _ = group_ok(launch, "predict", reference, photographs, "--output", "pred")
    assert "3 of 3 images predicted into pred" in first.out
    assert len(list((tmp_path / "pred" / "ids").rglob("*.png"))) == 3


def both(done: Sequence[Finished]) -> Finished:
    """What a person reads: one error, from the first process, whoever had it."""
    first, *others = done
    for other in others:
        assert other.code == first.code, other.text
        assert "Traceback" not in other.text
    return first


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_is_killed_leaves_nobody_waiting(
    rank: int, config: Path, launch: Launcher, tmp_path: Path
) -> None:
    given = arguments(config, "--iterations", 100_000)
    processes = start_group(launch, "train_ssl", *given)
    processes[0].until((tmp_path / "out/run/checkpoints/step-00000002").is_dir)
    processes[rank].kill(signal.SIGKILL)
    other = processes[1 - rank].wait()
    refused(other, "another process of this run", "--resume out/run", code=1)


SPOILT = """
import os, runpy, sys
import torch
from mixseg.training.loop import Learner

tool, rank = sys.argv.pop(1), sys.argv.pop(1)
update = Learner.update

def spoiling(self, step):
    update(self, step)
    if step == 4 and os.environ["RANK"] == rank:
        with torch.no_grad():
            next(self.method.student.parameters()).fill_(float("nan"))

Learner.update = spoiling
runpy.run_path(tool, run_name="__main__")
"""
"""A tool in which, after its fifth step, the student of one process gives losses that are no
numbers."""


def test_a_loss_that_is_not_finite_in_one_process_stops_all(
    config: Path, launch: Launcher, tmp_path: Path
) -> None:
    script = tmp_path / "spoilt.py"
    script.write_text(SPOILT)
    given = (TOOLS / "train_ssl.py", 1, *arguments(config))
    processes = start_group(launch, script, *given)
    done = both([process.wait() for process in processes])
    refused(done, "step 6: loss or gradient is not finite", code=1)
    named = done.err.split("Images of the step: ")[1].split(". The network")[0].split(", ")
    assert len(named) == 4  # those of both processes
    checkpoints = sorted((tmp_path / "out/run").glob("checkpoints/step-*"))
    assert [path.name for path in checkpoints] == ["step-00000002", "step-00000004"]


def test_refused(config: Path, launch: Launcher, tmp_path: Path) -> None:
    odd = run_group(launch, "train_ssl", *arguments(config, "--data.batch_labeled", 3))
    refused(odd[0], "data.batch_labeled", "3", "2 processes")
    alone = launch("make_demo", "--out", "demo", TORCHELASTIC_RUN_ID="test")
    refused(alone, "torchrun")
    (tmp_path / "out/run").mkdir(parents=True)
    (tmp_path / "out/run" / "mine").touch()
    done = run_group(launch, "train_ssl", *arguments(config))
    refused(both(done), "out/run", code=1)
    assert done[1].err == ""
    assert tree(tmp_path) == ["out", "out/run", "out/run/mine"]


def torchrun(
    environment: dict[str, str], cwd: Path, *arguments: object, restarts: int = 0
) -> subprocess.Popen[str]:
    agent = ("--standalone", "--nproc-per-node", 2, "--max-restarts", restarts)
    command = (sys.executable, "-m", "torch.distributed.run", *agent, *arguments)
    return subprocess.Popen(
        [str(one) for one in command],
        cwd=cwd,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def until(agent: subprocess.Popen[str], condition: Callable[[], object]) -> None:
    """Wait for a moment of a run under torchrun."""
    deadline = time.monotonic() + 400
    while not condition():
        assert agent.poll() is None, agent.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.001)


def worker(agent: subprocess.Popen[str], rank: int) -> int:
    """Process id of one of the processes that an agent has started."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = path.joinpath("stat").read_text().rsplit(")", 1)[1].split()[1]
            found = path.joinpath("environ").read_bytes().split(b"\0")
        except OSError:  # it has ended meanwhile
            continue
        if int(parent) == agent.pid and f"RANK={rank}".encode() in found:
            return int(path.name)
    raise AssertionError(f"no process of rank {rank}")


KILLED_TWICE = """
import os, signal
from mixseg.distributed import joined, texts

attempt = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
with joined() as processes:
    said = texts(f"{processes.rank} of attempt {attempt}")
    if attempt == 1 - processes.rank:
        os.kill(os.getpid(), signal.SIGKILL)
    texts("")
    print(" and ".join(said))
"""


@pytest.mark.slow
def test_processes_find_one_another_after_each_was_killed(
    environment: dict[str, str], tmp_path: Path
) -> None:
    script = tmp_path / "killed_twice.py"
    script.write_text(KILLED_TWICE)
    agent = torchrun(environment, tmp_path, script, restarts=2)
    said, _ = agent.communicate(timeout=400)
    assert agent.returncode == 0, said
    assert said.count("0 of attempt 2 and 1 of attempt 2") == 2, said


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
@pytest.mark.parametrize("rank", [0, 1])
def test_torchrun_starts_again_after_a_kill(
    rank: int, config: Path, environment: dict[str, str], launch: Launcher, tmp_path: Path
) -> None:
    whole, killed = folders(tmp_path, "whole", "killed")
    group_ok(launch, "train_ssl", *arguments(config), cwd=whole)
    command = (TOOLS / "train_ssl.py", *arguments(config, "--resume", "auto"))
    agent = torchrun(environment, killed, *command, restarts=1)
    until(agent, (killed / "out/run/checkpoints" / "step-00000002").is_dir)
    os.kill(worker(agent, rank), signal.SIGKILL)
    said, _ = agent.communicate(timeout=400)
    assert agent.returncode == 0, said
    assert_same_run(whole / "out/run", killed / "out/run")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_torchrun_and_its_processes(
    number: int, config: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    """As from SLURM, or a terminal: torchrun passes on what its processes have received."""
    seldom = ("--iterations", 100_000, "--set", "checkpoints.every=1000000", "validation.every=0")
    command = (TOOLS / "train_ssl.py", *arguments(config, *seldom))
    agent = torchrun(environment, tmp_path, *command)
    run = tmp_path / "out/run"
    until(agent, lambda: (run / "metrics.jsonl").is_file() and metrics(run)[2:])
    os.killpg(agent.pid, number)
    said, _ = agent.communicate(timeout=400)
    assert agent.returncode != 0
    (checkpoint,) = run.glob("checkpoints/step-*")
    assert f"stopped at step {int(checkpoint.name[-8:])}, saved" in said
