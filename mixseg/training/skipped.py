"""Images that a run could not read and went on without."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import final

from mixseg.data.streams import Batch, Skipped
from mixseg.distributed import texts
from mixseg.errors import DataError
from mixseg.files import read_text, write_atomically

LOG = logging.getLogger("mixseg")


@final
class SkippedSamples:
    """Names and records each of them once, and ends a run that has too many; the same in every
    process.
    """

    def __init__(
        self, path: Path, samples: Mapping[str, int], share: float, *, writes: bool
    ) -> None:
        """Read what an earlier process of the run has found.

        Args:
            path: One JSON object per line; made when there is something to write.
            samples: Name of a stream -> number of its samples.
            share: Of the samples of a stream, in [0, 1], that may be skipped.
            writes: Whether this process is the one that writes.
        """
        self.path, self.samples, self.share, self.writes = path, samples, share, writes
        try:
            earlier = [Skipped(**json.loads(line)) for line in read_text(path).splitlines()]
        except (OSError, ValueError, TypeError, RecursionError):
            earlier = []  # there is none yet, or a damaged record, which is found again
        self.known = {(one.stream, one.id): one for one in earlier}

    def note(self, batches: Iterable[Batch]) -> None:
        """Take in what the batches of a step have skipped; a DataError where it is more than may
        be.
        """
        own = [list(one) for batch in batches for one in batch.skipped]
        found = [Skipped(*one) for text in texts(json.dumps(own)) for one in json.loads(text)]
        fresh = {(one.stream, one.id): one for one in found} | self.known
        if len(fresh) == len(self.known):
            return
        for key, one in fresh.items():
            if key not in self.known:
                LOG.warning(f"skipped ({one.stream}): {one.reason}")
        self.known = fresh
        if self.writes:
            lines = [json.dumps(one._asdict()) + "\n" for _, one in sorted(fresh.items())]
            write_atomically(self.path, "".join(lines))
        for stream, count in self.samples.items():
            bad = [one for one in fresh.values() if one.stream == stream]
            if len(bad) > int(self.share * count):
                error = DataError(
                    f"{len(bad)} of {count} images of the {stream} stream cannot be read, more "
                    f"than data.skip_bad_share {self.share:g} allows; they are listed in "
                    f"{self.path}, and mixseg check-data finds all. The last one: {bad[-1].reason}"
                )
                error.everywhere = True  # the samples were gathered from all processes
                raise error
