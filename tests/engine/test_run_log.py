"""Lines of metrics, cut back to the checkpoint that a run goes on from."""

from __future__ import annotations

import json
from pathlib import Path

from mixseg.engine.run_log import MetricsLog


class TestMetricsLog:
    def test_is_cut_back_to_the_offset_and_appended_to(self, tmp_path: Path) -> None:
        path = tmp_path / "metrics.jsonl"
        log = MetricsLog(path)
        log.write({"step": 1})
        offset = log.offset()
        log.write({"step": 2})
        log.close()
        log = MetricsLog(path, offset)
        assert log.offset() == offset
        log.write({"step": 2, "again": True})
        log.close()
        records = [json.loads(line) for line in path.read_text().splitlines()]
        assert records == [{"step": 1}, {"step": 2, "again": True}]

    def test_the_offset_is_on_disk(self, tmp_path: Path) -> None:
        log = MetricsLog(tmp_path / "metrics.jsonl")
        log.write({"step": 1})
        assert log.offset() == (tmp_path / "metrics.jsonl").stat().st_size > 0
        log.close()

    def test_a_file_that_became_shorter_is_not_filled_with_zeros(self, tmp_path: Path) -> None:
        path = tmp_path / "metrics.jsonl"
        log = MetricsLog(path, offset=500)  # the file was removed since the checkpoint
        log.write({"step": 3})
        log.close()
        assert [json.loads(line) for line in path.read_bytes().splitlines()] == [{"step": 3}]

    def test_every_line_is_json(self, tmp_path: Path) -> None:
        log = MetricsLog(tmp_path / "metrics.jsonl")
        log.write({"step": 1, "gradient_norm": float("inf"), "loss": float("nan"), "lr": 0.5})
        log.close()

        def refuse(name: str) -> None:
            raise ValueError(name)

        text = (tmp_path / "metrics.jsonl").read_text()
        record = json.loads(text, parse_constant=refuse)
        assert record == {"step": 1, "gradient_norm": None, "loss": None, "lr": 0.5}
