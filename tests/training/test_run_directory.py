from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mixseg.errors import MixsegError
from mixseg.training.run_directory import RunDirectory


def hold(path: Path) -> subprocess.Popen[str]:
    """A process that has the run directory open; it says so on its output."""
    code = (
        "import sys; from pathlib import Path\n"
        "from mixseg.training.run_directory import RunDirectory\n"
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

    def test_what_is_no_place_for_a_run(self, tmp_path: Path) -> None:
        with pytest.raises(MixsegError, match="nothing"):
            RunDirectory(tmp_path / "nothing")
        (tmp_path / "file").write_text("x")
        with pytest.raises(MixsegError, match="file"):
            RunDirectory.create(tmp_path / "file" / "run")

    def test_taking_a_folder_back(self, tmp_path: Path) -> None:
        RunDirectory.create(tmp_path / "run").remove()
        assert not list(tmp_path.iterdir())

    def test_a_removed_lock_file_lets_no_second_process_in(self, tmp_path: Path) -> None:
        run = RunDirectory.create(tmp_path / "run")
        run.publish()
        for _ in range(2):
            with pytest.raises(MixsegError, match="another process"):
                RunDirectory(run.path)
            (run.path / "run.lock").unlink(missing_ok=True)
        run.close()
        RunDirectory(run.path).close()


class TestBeginning:
    def test_the_folder_appears_whole(self, tmp_path: Path) -> None:
        path = tmp_path / "some" / "run"
        run = RunDirectory.create(path)
        assert not path.exists()
        (run.path / "config.yaml").write_text("seed: 1")
        run.publish()
        assert run.path == path
        assert (path / "config.yaml").read_text() == "seed: 1"
        assert [one.name for one in path.parent.iterdir()] == ["run"]
        run.close()

    def test_what_a_killed_process_left_is_taken_over(self, tmp_path: Path) -> None:
        run = RunDirectory.create(tmp_path / "run")
        (run.path / "teacher").mkdir()
        (run.path / "config.yaml").write_text("{")
        run.close()  # as if it had been killed
        again = RunDirectory.create(tmp_path / "run")
        assert {one.name for one in again.path.iterdir()} == {"run.lock", "checkpoints"}
        with pytest.raises(MixsegError, match="another process"):
            RunDirectory.create(tmp_path / "run")
        again.publish()
        again.close()

    def test_two_that_begin_at_once(self, tmp_path: Path) -> None:
        run = RunDirectory.create(tmp_path / "run")
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "config.yaml").write_text("the other one's")
        with pytest.raises(MixsegError, match="exists already"):
            run.publish()
        run.remove()
        assert [one.name for one in tmp_path.iterdir()] == ["run"]
        assert (tmp_path / "run" / "config.yaml").read_text() == "the other one's"

    def test_an_empty_folder_in_use_is_not_taken(self, tmp_path: Path) -> None:
        # What a version that made the folder first looks like while it begins.
        (tmp_path / "run").mkdir()
        other = RunDirectory(tmp_path / "run")
        run = RunDirectory.create(tmp_path / "run")
        with pytest.raises(MixsegError, match="another process"):
            run.publish()
        run.remove()
        other.close()
        run = RunDirectory.create(tmp_path / "run")
        run.publish()
        run.close()

    def test_links_are_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "precious").write_text("x")
        for link in (".run.new", "run"):  # the temporary folder's name, and the run's
            (tmp_path / link).symlink_to(tmp_path / "elsewhere")
            with pytest.raises(MixsegError, match=link):
                RunDirectory.create(tmp_path / "run")
            (tmp_path / link).unlink()
        assert [one.name for one in (tmp_path / "elsewhere").iterdir()] == ["precious"]


def test_records_come_back_from_a_checkpoint(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run")
    (run.path / "split.json").write_text("{}")
    (run.path / "alignment.yaml").write_text("road: 1.0")
    kept = run.records()
    assert run.restore_records(kept) == []
    (run.path / "split.json").unlink()
    (run.path / "alignment.yaml").write_text("road: 0.5")
    forged = {"../outside.yaml": "x", "metrics.jsonl": "x", "class_map.yaml": 3}
    assert run.restore_records(kept | forged) == ["split.json", "alignment.yaml"]
    assert run.records() == kept
    assert not (tmp_path / "outside.yaml").exists()
    run.close()


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
    run.check_split("abc", "--labeled L")
    with pytest.raises(MixsegError, match=r"abc.*xyz.*--labeled L --allow-changes"):
        run.check_split("xyz", "--labeled L")
    (run.path / "split.json").write_text("{")
    with pytest.raises(MixsegError, match=r"split\.json: missing or damaged"):
        run.check_split("abc", "--labeled L")
    run.close()
