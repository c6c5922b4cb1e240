from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mixseg.engine.run_directory import RunDirectory
from mixseg.errors import MixsegError


def hold(path: Path) -> subprocess.Popen[str]:
    """A process that has the run directory open; it says so on its output."""
    code = (
        "import sys; from pathlib import Path\n"
        "from mixseg.engine.run_directory import RunDirectory\n"
        "run = RunDirectory(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


class TestLock:
    def test_a_second_process_is_refused_until_the_first_is_gone(self, tmp_path: Path) -> None:
        run = RunDirectory.create(tmp_path / "run")
        other = hold(run.path)
        _, errors = other.communicate()
        assert "another process is training in this folder" in errors
        run.close()
        holder = hold(run.path)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(MixsegError, match="another process is training"):
            RunDirectory(run.path)
        # A process that is killed leaves no lock behind.
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
        RunDirectory(run.path).close()

    def test_an_existing_folder_is_not_overwritten(self, tmp_path: Path) -> None:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "precious").write_text("x")
        with pytest.raises(MixsegError, match=r"exists already.*--resume"):
            RunDirectory.create(tmp_path / "run")
        assert [path.name for path in (tmp_path / "run").iterdir()] == ["precious"]

    def test_no_folder(self, tmp_path: Path) -> None:
        with pytest.raises(MixsegError, match=r"nothing.*no such run"):
            RunDirectory(tmp_path / "nothing")

    def test_a_file_in_the_way(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        with pytest.raises(MixsegError, match="cannot be made"):
            RunDirectory.create(tmp_path / "file" / "run")

    def test_taking_a_folder_back(self, tmp_path: Path) -> None:
        RunDirectory.create(tmp_path / "run").remove()
        assert not (tmp_path / "run").exists()


def test_each_start_adds_its_environment(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run")
    run.write_environment()
    run.write_environment()
    entries = json.loads((run.path / "environment.json").read_text())
    assert len(entries) == 2
    assert entries[0]["packages"]["torch"] == torch.__version__.split("+")[0]
    run.close()


def test_another_split_is_refused(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run")
    (run.path / "split.json").write_text(json.dumps({"digest": "abc"}))
    run.unlabeled.write_text("one\ntwo\n")
    run.check_split("abc", "one\ntwo\n", "--labeled L")
    with pytest.raises(MixsegError, match=r"abc.*xyz.*--labeled L --allow-changes"):
        run.check_split("xyz", "one\ntwo\n", "--labeled L")
    with pytest.raises(MixsegError, match=r"unlabelled images are not those"):
        run.check_split("abc", "one\ntwo\nthree\n", "--labeled L")
    (run.path / "split.json").write_text("{")
    with pytest.raises(MixsegError, match=r"split\.json: missing or damaged"):
        run.check_split("abc", "one\ntwo\n", "--labeled L")
    run.close()
