"""Many short clips with one worker, then with two: seconds, speed-up, and whether the masks are the same.

    python benchmarks/many.py DATA --out OUT [--clips 20] [--frames 12]

DATA is a DAVIS-layout folder. The clips are the first frames of its videos, and one of them is made unreadable. Every
worker has one thread. Workers start within the time that is measured.
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from pathlib import Path

from napari_pml.cluster.batch import Network, local_workers, run_jobs
from napari_pml.cluster.jobs import read_jobs
from napari_pml.cluster.report import State
from napari_pml.evaluation.davis import find_sequences


def cut_clips(data: Path, out: Path, n_clips: int, n_frames: int) -> Path:
    """Copy the clips, damage the last one in its middle, and return the table of jobs."""
    rows = ["video,out,annotations"]
    for sequence in find_sequences(data)[:n_clips]:
        clip = out / "clips" / sequence.name
        clip.mkdir(parents=True)
        for frame in sequence.frames[:n_frames]:
            shutil.copy(frame, clip)
        rows.append(f"clips/{sequence.name},masks/{sequence.name},{sequence.masks[0].resolve()}")
    damaged = sorted(clip.iterdir())[n_frames // 2]
    damaged.write_bytes(damaged.read_bytes()[:1000])
    table = out / "jobs.csv"
    table.write_text("\n".join(rows) + "\n")
    return table


def run(table: Path, workers: int) -> tuple[float, dict[str, bytes]]:
    """Do the jobs; return the seconds they took, and every mask by its name."""
    masks = table.parent / "masks"
    shutil.rmtree(masks, ignore_errors=True)
    jobs = read_jobs(table)
    began = time.perf_counter()
    with local_workers(workers) as client:
        outcomes = list(run_jobs(jobs, Network("compact", "cpu"), client, workers=workers))
    seconds = time.perf_counter() - began
    states = [outcome.state for outcome in outcomes]
    at_work = sum(outcome.seconds for outcome in outcomes)
    print(
        f"workers {workers}: {seconds:.1f} s; {states.count(State.done)} done, {states.count(State.failed)} failed; "
        f"jobs alone {at_work:.1f} s; load of the machine {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    recorded = {outcome.job.out.name for outcome in outcomes if outcome.state is State.done}
    return seconds, {
        f"{path.parent.name}/{path.name}": path.read_bytes()
        for path in masks.glob("*/*.png")
        if path.parent.name in recorded
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--frames", type=int, default=12)
    args = parser.parse_args()

    os.environ["OMP_NUM_THREADS"] = "1"
    table = cut_clips(args.data, args.out, args.clips, args.frames)
    print(f"{args.clips} clips of {args.frames} frames, load of the machine {os.getloadavg()[0]:.1f}")
    one, masks_of_one = run(table, 1)
    two, masks_of_two = run(table, 2)
    print(f"speed-up {one / two:.2f}; {len(masks_of_one)} masks, identical: {masks_of_one == masks_of_two}")


if __name__ == "__main__":
    main()
