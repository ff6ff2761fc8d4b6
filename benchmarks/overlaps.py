"""Where objects touch or pass in front of each other: true masks, hard nearest neighbours and FEELVOS, side by side.

    python benchmarks/overlaps.py CELLS --out overlaps.png

CELLS is a folder of cells in DAVIS layout with a label for each cell, such as T98G of Usiigaci. Prints J and F of all
frames, and draws the picture: the cells that differ most, and the demo clip while an object passes in front of another.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_pml import METHODS, Session, open_video
from napari_pml.demo import make_clip
from napari_pml.evaluation.davis import find_sequences
from napari_pml.evaluation.measures import evaluate_masks
from napari_pml.io.label_images import davis_palette, read_labels

SHOWN = "pml-paper", "feelvos"
SIDE = 240


def segment(name: str, source: object, truth: NDArray[np.uint16]) -> dict[str, NDArray[np.uint16]]:
    """Return the masks that every method makes of a video's first mask."""
    found = {}
    for method in ("pml-paper", "pml", "feelvos"):
        session = Session(open_video(source), METHODS[method])
        session.annotate(0, truth[0], complete=True)
        list(session.propagate())
        found[method] = session.masks.labels[:]
        result = evaluate_masks(list(found[method]), list(truth))
        print(f"| {name} | {method} | {100 * result.j_mean:.1f} | {100 * result.f_mean:.1f} |", flush=True)
    return found


def row(frame: NDArray[np.uint8], masks: list[NDArray[np.uint16]], centre: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a part of the frame, and the same with each mask over it."""
    top, left = (min(max(0, c - SIDE // 2), n - SIDE) for c, n in zip(centre, frame.shape[:2], strict=True))
    part = slice(top, top + SIDE), slice(left, left + SIDE)
    colour = davis_palette()
    parts = [frame[part]]
    for mask in masks:
        labels = mask[part]
        mixed = np.where((labels > 0)[..., None], 0.5 * frame[part] + 0.5 * colour[labels % 256], frame[part])
        parts.append(mixed.astype(np.uint8))
    return np.hstack(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cells", type=Path)
    parser.add_argument("--frames", type=int, default=9)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    (sequence,) = find_sequences(args.cells)
    n = args.frames
    cells = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in sequence.frames[:n]])
    truth = np.stack([read_labels(path) for path in sequence.masks[:n]])
    found = segment("cells", cells, truth)
    hard, feelvos = (found[name][-1] for name in SHOWN)
    objects = np.unique(truth[-1])[1:]
    gains = {
        k: int(((truth[-1] == k) & (feelvos == k)).sum() - ((truth[-1] == k) & (hard == k)).sum()) for k in objects
    }
    best = max(gains, key=gains.__getitem__)
    y, x = (int(c.mean()) for c in np.nonzero(truth[-1] == best))
    rows = [row(cells[-1], [truth[-1], hard, feelvos], (y, x))]

    clip, clip_truth = make_clip(n_objects=3)
    found = segment("demo clip", clip, clip_truth)
    for t in (20, 28):
        rows.append(row(clip[t], [clip_truth[t], *(found[name][t] for name in SHOWN)], (120, 130)))
    Image.fromarray(np.vstack(rows)).quantize(128).save(args.out, optimize=True)


if __name__ == "__main__":
    main()
