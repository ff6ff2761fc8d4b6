"""How good the mask of a single frame is after 1 to 7 scribbles: no video, minutes to run.

    python benchmarks/strokes.py DATA [DATA ...] [--methods pml feelvos] [--fold N] [--rounds 7] [--frames 6]

DATA are DAVIS-layout folders, or stills (images/ beside masks/). Of every video some evenly spaced frames are taken,
each as a video of one frame. A robot scribbles on every object, then where the mask is wrong, again and again. Prints
J after each round, F after the first and the last, the share of rounds that lose more than 2 points of J, and the
milliseconds from stroke to mask.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from napari_pml import METHODS, Session, open_video
from napari_pml.evaluation.curve import LOSS
from napari_pml.evaluation.measures import boundary_accuracy, region_similarity
from napari_pml.evaluation.robot import correction, first_strokes
from napari_pml.methods.config import MethodConfig
from napari_pml.training.material import AnnotatedClip, find_annotated_clips, only_fold
from napari_pml.types import UNLABELLED, Labels


def curve(
    annotated: AnnotatedClip, i: int, config: MethodConfig, rounds: int, embedder: str, tool: str
) -> tuple[list[float], list[float], list[float]]:
    """Return J, F and the seconds from stroke to mask after each round on one frame."""
    frame, scale, truth = annotated.read(i)
    session = Session(open_video((scale.to_rgb(frame)[None] * 255).round().astype(np.uint8)), config, embedder=embedder)
    session.embeddings[0]
    strokes: Labels = first_strokes(truth, tool)
    j, f, seconds = list[float](), list[float](), list[float]()
    for _ in range(rounds):
        began = time.perf_counter()
        session.annotate(0, strokes)
        mask = session.segment(0).labels
        seconds.append(time.perf_counter() - began)
        objects = np.setdiff1d(truth, [0]).tolist()
        j.append(float(np.mean([region_similarity(mask == n, truth == n) for n in objects])))
        f.append(float(np.mean([boundary_accuracy(mask == n, truth == n) for n in objects])))
        new = correction(mask, truth, tool)
        strokes = np.where(new == UNLABELLED, strokes, new)
    return j, f, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--methods", nargs="*", default=["pml", "feelvos"], choices=METHODS)
    parser.add_argument("--embedder", default="compact")
    parser.add_argument("--tool", default="scribble", choices=["scribble", "click"])
    parser.add_argument("--fold", type=int)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--frames", type=int, default=6, help="of each video")
    parser.add_argument("--videos", type=int, default=50, help="of each folder at most, evenly spaced")
    args = parser.parse_args()

    print("| data | method | frames | J after 1, 2, ... | F after the first and the last | rounds that lose | ms |")
    print("|---|---|---|---|---|---|---|")
    for folder in args.data:
        videos = find_annotated_clips(folder)
        videos = videos if args.fold is None else only_fold(videos, args.fold)
        videos = [videos[i] for i in np.unique(np.linspace(0, len(videos) - 1, args.videos).round().astype(int))]
        frames = [
            (video, int(i))
            for video in videos
            for i in np.unique(np.linspace(0, len(video.images) - 1, args.frames + 2)[1:-1].round().astype(int))
        ]
        frames = [(video, i) for video, i in frames if video.read(i)[2].any()]
        for method in args.methods:
            runs = [curve(*frame, METHODS[method], args.rounds, args.embedder, args.tool) for frame in frames]
            j, f, seconds = (np.array([run[k] for run in runs]) for k in range(3))
            spoilt = (np.diff(j, axis=1) < -LOSS).mean()
            row = " ".join(f"{100 * value:.1f}" for value in j.mean(0))
            print(
                f"| {folder.name} | {method} | {len(frames)} | {row} | {100 * f.mean(0)[0]:.1f} "
                f"{100 * f.mean(0)[-1]:.1f} | {100 * spoilt:.0f} % | {1000 * np.median(seconds):.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
