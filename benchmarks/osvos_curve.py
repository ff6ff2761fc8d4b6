"""J against seconds of one-shot learning, as in the figure of the OSVOS paper.

    python benchmarks/osvos_curve.py DATA --out OUT [--every 4] [--steps 0 10 20 40 80 160]

DATA is a DAVIS-layout folder. Every video is learned from its first mask with each number of steps at most, and every
EVERY-th frame is segmented. Writes curve.csv and curve.svg into OUT. Seconds are those of the processor, of all threads
together, so that they do not depend on what else it does.
"""

from __future__ import annotations

import argparse
import csv
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_pml import METHODS, Session, open_video
from napari_pml.embedding.device import choose_device
from napari_pml.embedding.registry import load_embedder
from napari_pml.evaluation.curve_plot import document, panel
from napari_pml.evaluation.davis import find_sequences
from napari_pml.evaluation.measures import boundary_accuracy, region_similarity


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--every", type=int, default=4)
    parser.add_argument("--steps", type=int, nargs="*", default=[0, 10, 20, 40, 80, 160])
    parser.add_argument("--device")
    args = parser.parse_args()

    args.out.mkdir(parents=True, exist_ok=True)
    embedder = load_embedder("compact", choose_device(args.device))
    sequences = find_sequences(args.data)
    found = np.zeros((3, len(sequences), len(args.steps)))  # seconds, J, F
    with (args.out / "curve.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sequence", "steps at most", "steps", "seconds", "J", "F"])
        for row, sequence in enumerate(sequences):
            video = open_video(sequence.frames[0].parent)
            times = range(args.every, len(video) - 1, args.every)
            for column, steps in enumerate(args.steps):
                session = Session(video, replace(METHODS["osvos"], steps=steps), embedder=embedder)
                session.annotate(0, sequence.mask(0), complete=True)
                began = time.process_time()
                taken = len(list(session.learn()))
                seconds = time.process_time() - began
                pairs = [(session.segment(t).labels > 0, sequence.mask(t) > 0) for t in times]
                j = np.mean([region_similarity(*pair) for pair in pairs])
                f = np.mean([boundary_accuracy(*pair) for pair in pairs])
                found[:, row, column] = seconds, j, f
                writer.writerow([sequence.name, steps, taken, f"{seconds:.2f}", f"{j:.4f}", f"{f:.4f}"])
                print(f"{sequence.name:12} {taken:4} steps {seconds:6.1f} s  J {j:.3f} F {f:.3f}", flush=True)
    for steps, *mean in zip(args.steps, *found.mean(1), strict=True):
        print(f"mean, at most {steps:4} steps: {mean[0]:6.1f} s  J {mean[1]:.3f} F {mean[2]:.3f}")
    seconds, regions = found[0].mean(0), found[1]
    floor = float(np.floor(10 * regions.min())) / 10
    caption = f"mean of {len(sequences)} videos, one frame of {args.every}"
    limits = 0.0, float(seconds.max())
    x_label = "seconds of one-shot learning (CPU)"
    picture = panel(seconds, regions, limits, floor, x_label, caption, dots=True, measure="J")
    (args.out / "curve.svg").write_text(document([picture]))


if __name__ == "__main__":
    main()
