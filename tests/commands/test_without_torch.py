"""What was typed is understood without torch, whose import takes seconds."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from mixseg.cli import COMMANDS

ROOT = Path(__file__).parents[2]

REQUIRED = {
    "evaluate": ["run"],
    "predict": ["run", "photo.png", "--output=there"],
    "select": ["run", "--budget=3"],
    "export": ["run", "--output=there.pt2"],
    "make-demo": ["--out=there"],
    "ablate": ["mixers"],
    "compare": ["run"],
}
"""Arguments without which a command says that they are missing."""

PROGRAM = """
import json, sys
for name in ("torch", "torchvision", "timm", "matplotlib"):
    sys.modules[name] = None  # which makes an import fail
from mixseg.cli import main
for arguments in json.loads(sys.argv[1]):
    print("-- code", main(arguments), flush=True)
"""


def codes_and_errors(tmp_path: Path, *commands: list[str]) -> tuple[list[int], list[str], str]:
    """Exit codes, lines on standard error, and standard output of commands in one process."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(commands)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "XDG_CONFIG_HOME": str(tmp_path / "own.cfg")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    codes = [int(code) for code in re.findall(r"^-- code (\d+)$", done.stdout, re.MULTILINE)]
    return codes, done.stderr.splitlines(), done.stdout


def test_a_mistyped_flag_of_every_command(tmp_path: Path) -> None:
    commands = [[name, *REQUIRED.get(name, []), "--imporrt", "x"] for name in COMMANDS]
    codes, errors, _ = codes_and_errors(tmp_path, *commands)
    assert codes == [2] * len(COMMANDS)
    assert len(errors) == len(COMMANDS)
    assert all("Did you mean '--import'?" in line for line in errors), errors
    assert not list(tmp_path.iterdir())


def test_the_help_of_every_command(tmp_path: Path) -> None:
    codes, errors, out = codes_and_errors(tmp_path, *([name, "--help"] for name in COMMANDS))
    assert codes == [0] * len(COMMANDS) and not errors
    for name in COMMANDS:
        assert f"usage: mixseg {name}" in out
    assert out.count("--import FILE|MODULE") >= len(COMMANDS)
    assert " at 0x" not in out  # types and defaults are named for people


WRONG = {
    "trian": "unknown command",
    "ssl --mixer classmx": "classmix",
    "ssl --optimizer.lr -1": "optimizer.lr",
    "ssl --mixing.sigma 0,1": "mixing.sigma",
    "ssl --mixing.alpha 0.2": "--mixing.alpha does nothing",
    "ssl --terms masked,feature-dropout,masked": "terms: masked is named twice",
    "ssl --targets.margin 0.5,0.5,0,0": "leaves nothing of an image",
    "ssl --targets.margin 0,0,24,0.4 --data.crop 32x40": "leaves nothing of images of 32x40",
    "ssl --allow-changes": "--allow-changes",
    "ssl --resume auto": "--name",
    "ssl --resume run --config folder-small": "--config",
    "supervised --adversarial.alpha 1": "--adversarial.alpha does nothing",
    "uda --set training.iteration=3": "training.iterations",
    "distill --teacher run --lr -1": "optimizer.lr",
    "distill --teacher run --mixer cutmix": "--mixer does nothing",
    "doctor --config folder-smal": "ssl/folder_small",
    "ablate ssl-table-5-2": "ablations/ssl_table_5_1",
    "ablate mixers --rows CutMx": "CutMix",
    "ablate mixers --lr -1": "optimizer.lr",
    "ablate mixers --mixing.alpha 0.2": "--mixing.alpha does nothing",
    "ablate mixers --regularizer nonne": "none",
    "ablate mixers --slurm.time 5": "--slurm.time does nothing",
    "find-lr --low 0": "--low",
    "make-demo --out there --size 3x3": "--size",
    "figures temperature": "temperatures",
    "figures mixing --logits 1,2": "--logits",
    "export run --output network.pth": "--output",
    "compare run --output table.xls": "--output",
    "evaluate run --dataset camvidd": "camvid",
    "evaluate run --resize 5": "--resize",
    "evaluate run --resolution 5": "--resolution",
    "evaluate run --window 64x64": "--window",
    "evaluate run --batch-size 0": "--batch-size",
    "predict run a.png --output x --formats idss": "--formats",
    "predict run a.png --output x --precision fp8": "--precision",
    "select run --budget 0": "--budget",
    "select run --budget 3 --diversity 2": "--diversity",
    "select run --budget 3 --strategy entropi": "'entropy'",
    "select run --budget 3 --strategy random": "--simulate",
    "select run --budget 3 --rounds 2": "--rounds",
    "select run --budget 3 --simulate --images x": "--images",
    "dataset-stats --data-root x": "--dataset",
}
"""Command with a wrong value, or a flag that does nothing -> what its message names."""


def test_wrong_values(tmp_path: Path) -> None:
    codes, errors, _ = codes_and_errors(tmp_path, *map(str.split, WRONG))
    assert codes == [2] * len(WRONG)
    assert len(errors) == len(WRONG)
    for line, named in zip(errors, WRONG.values(), strict=True):
        assert named in line


def test_imports_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "damaged.py").write_text("import\n")
    (tmp_path / "folder").mkdir()
    named = ("damaged.py", "missing.py", "missing", ".", "./folder", "a b")
    codes, errors, _ = codes_and_errors(tmp_path, *(["ssl", "--import", one] for one in named))
    assert codes == [2] * len(named)
    for line, one in zip(errors, named, strict=True):
        assert "--import" in line and one in line


def test_every_command_imports_parts(tmp_path: Path) -> None:
    commands = []
    for name in COMMANDS:
        # Not NAME.py: a file select.py here would stand before Python's own module.
        parts = f"{name}-parts.py"
        (tmp_path / parts).write_text(f"open({name!r}, 'w').close()")
        commands.append([name, *REQUIRED.get(name, []), "--nonsense", "--import", parts])
    codes, _, _ = codes_and_errors(tmp_path, *commands)
    assert codes == [2] * len(COMMANDS)
    assert {path.name for path in tmp_path.iterdir() if not path.suffix} == set(COMMANDS)
