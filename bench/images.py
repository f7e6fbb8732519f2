"""Measure how long many JPEG files take to read and how much memory that needs.

    python bench/images.py --count 100000 --size 128          (half an hour on 2 cores, 10 GB of disk)

The files are made first, and kept in `--folder` for the next call if it is given: photographs' stand-ins (smooth shapes with
noise) of 160 x 120 to 640 x 480 pixels. As many of them are in the kernel's cache as fit into free memory. Two processes read
them one after another. The first one decodes them, the second one finds them decoded. For each the table has the seconds for
`scan` (headers and digests) and for `load`, images per second, and the peak resident memory, of which `own` is what the kernel
can't take back (without the pages of files; Linux only).
"""

import argparse
import contextlib
import hashlib
import json
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from mlproject.datasets.images import pixels
from mlproject.datasets.images.preparation import Preparation
from mlproject.datasets.images.entries import COLUMNS, Entries

import numpy as np
import pandas as pd
import psutil
from PIL import Image

INTERVAL = 0.1  # seconds between two looks at the memory


def make(folder: Path, number: int) -> None:
    """Write one file, unless it exists: an enlarged pattern of few pixels, with noise."""
    path = folder / f"{number // 1000:03}" / f"{number:06}.jpg"
    if path.exists():
        return
    rng = np.random.default_rng(number)
    width = int(rng.integers(160, 641))
    pattern = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    enlarged = np.asarray(pattern.resize((width, width * 3 // 4), Image.Resampling.BICUBIC))
    noise = rng.integers(0, 32, (*enlarged.shape[:2], 1), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(enlarged // 8 * 7 + noise).save(path, quality=int(rng.integers(70, 96)))


def make_many(folder: Path, numbers: range) -> None:
    """Write the files with these numbers."""
    for number in numbers:
        make(folder, number)


def measure(folder: Path, count: int, size: int) -> None:
    """Scan and load the files in this process, and print the figures as JSON."""
    peak = {"peak, GB": 0.0, "own, GB": 0.0}
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(INTERVAL):
            memory = psutil.Process().memory_info()
            peak["peak, GB"] = max(peak["peak, GB"], memory.rss / 1e9)
            peak["own, GB"] = max(peak["own, GB"], (memory.rss - getattr(memory, "shared", 0)) / 1e9)

    paths = sorted(folder.glob("*/*.jpg"))[:count]
    table = pd.DataFrame("", index=range(len(paths)), columns=list(COLUMNS))
    entries = Entries(folder, "bench", table, lambda position: paths[position].read_bytes(), {})
    threading.Thread(target=watch, daemon=True).start()
    started = time.perf_counter()
    found = pixels.scan(entries)
    scanned = time.perf_counter()
    positions = np.arange(len(paths))
    result = pixels.load(entries, positions, found["digest"], Preparation(size, 3), folder / "cache")
    seconds = time.perf_counter() - scanned
    ended.set()
    digest = hashlib.sha256(result.images[:: max(1, count // 100)].tobytes()).hexdigest()[:8]
    figures = {"images": len(result.images), "scan, s": scanned - started, "load, s": seconds}
    print(json.dumps(figures | {"images/s": count / seconds} | peak | {"digest": digest}))


def main() -> None:
    """Make the files, and print a row for each of the two processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--folder", type=Path)
    # The two processes are called with it.
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.folder, options.count, options.size)
        return
    with contextlib.ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        with ProcessPoolExecutor() as pool:
            chunks = [range(start, min(start + 500, options.count)) for start in range(0, options.count, 500)]
            list(pool.map(make_many, [folder] * len(chunks), chunks))
        for path in folder.glob("cache/*"):
            path.unlink()
        given = f"--count={options.count}", f"--size={options.size}", f"--folder={folder}"
        call = [sys.executable, __file__, "--measure", *given]
        rows = [json.loads(subprocess.run(call, check=True, stdout=subprocess.PIPE).stdout) for _ in range(2)]
    print(pd.DataFrame(rows, index=["first start", "second start"]).round(2).to_string())


if __name__ == "__main__":
    main()
