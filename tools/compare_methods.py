"""Train several settings with several seeds and print mean and deviation of their mIoU.

python tools/compare_methods.py --settings supervised classmix cutmix cowmix --seeds 0 1 2 -- FLAGS

FLAGS go to every run of ``train_ssl.py`` or, for the rows of domain adaptation, of
``train_uda.py``. Finished runs are kept, so an interrupted comparison goes on where it stopped; an
output folder that was made with other flags is refused.
"""

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SETTINGS = {
    "supervised": ["train_ssl.py", "--method", "supervised"],
    "classmix": ["train_ssl.py", "--mixer", "classmix"],
    "cutmix": ["train_ssl.py", "--mixer", "cutmix"],
    "cowmix": ["train_ssl.py", "--mixer", "cowmix"],
    "none": ["train_ssl.py", "--mixer", "none"],
    "source-only": ["train_uda.py", "--source-only"],
    "intermix": ["train_uda.py", "--domains", "inter"],
    "intramix": ["train_uda.py", "--domains", "intra"],
    "aligned-intramix": ["train_uda.py", "--domains", "intra", "--alignment", "target"],
}
"""Name -> tool and flags of what is compared."""


def main() -> int:
    """Run the comparison; 1 if a run failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS)[:4])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=Path("runs/comparison"))
    parser.add_argument("--jobs", type=int, default=1, help="runs at once; they share the cores")
    parser.add_argument("flags", nargs="*", help="after --: flags for every run")
    parsed = parser.parse_args()
    try:
        parsed.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--output {parsed.output}: cannot be made: {error.strerror}")
    # A table must not mix runs of different settings.
    record = parsed.output / "flags.json"
    if not any(parsed.output.glob("*/config.yaml")):
        record.write_text(json.dumps(parsed.flags))
    elif not record.is_file():
        parser.error(f"{parsed.output} holds runs of something else; give another --output")
    elif (earlier := json.loads(record.read_text())) != parsed.flags:
        parser.error(f"{parsed.output} was made with {shlex.join(earlier)!r}; give --output")
    jobs_at_once = max(1, parsed.jobs)
    threads = max(1, (os.cpu_count() or 1) // jobs_at_once)

    def train(job: tuple[str, int]) -> int:
        name, seed = job
        folder = parsed.output / f"{name}-seed{seed}"
        tool, *flags = SETTINGS[name]
        command = [sys.executable, str(Path(__file__).with_name(tool))]
        command += [*flags, "--seed", str(seed), "--output", str(parsed.output)]
        command += ["--name", folder.name, "--resume", "auto", *parsed.flags]
        if (folder / "summary.json").is_file():
            return 0
        with (parsed.output / f"{folder.name}.log").open("a") as log:
            environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
            return subprocess.run(command, stdout=log, stderr=log, env=environment).returncode

    jobs = [(name, seed) for seed in parsed.seeds for name in parsed.settings]
    with ThreadPoolExecutor(jobs_at_once) as pool:
        codes = dict(zip(jobs, pool.map(train, jobs), strict=True))
    for (name, seed), code in codes.items():
        if code:
            log = parsed.output / f"{name}-seed{seed}.log"
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            print(f"{name} seed {seed} failed ({code}): {' '.join(last)} (see {log})")

    print(
        "| setting | student mIoU | teacher mIoU | student, each seed |\n| --- | --- | --- | --- |"
    )
    for name in parsed.settings:
        scores: dict[str, list[float]] = {"student": [], "teacher": []}
        for seed in parsed.seeds:
            summary = parsed.output / f"{name}-seed{seed}" / "summary.json"
            if summary.is_file():
                last = json.loads(summary.read_text())["last"]
                for network, values in scores.items():
                    values.append(100 * last[network]["miou"])
        cells = [_mean(values) for values in scores.values()]
        each = ", ".join(f"{value:.2f}" for value in scores["student"])
        print(f"| {name} | {' | '.join(cells)} | {each} |")
    return int(any(codes.values()))


def _mean(values: list[float]) -> str:
    if not values:
        return "-"
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.2f} ± {deviation:.2f}"


if __name__ == "__main__":
    sys.exit(main())
