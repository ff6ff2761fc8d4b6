"""How well cells keep their numbers: mean IoU, identity, seconds a frame, from the instance mask of frame 0.

    python benchmarks/cells.py DATA [--first-mask MASK.png] [--methods ...] [--config KEY=VALUE] [--frames 31]

DATA is a DAVIS-layout folder whose masks hold a number for every track; --first-mask is a better mask of frame 0, whose
cells take the numbers of the tracks that they cover. "auto2" is the baseline that needs no network: dense optical flow
(OpenCV's DIS), eroded masks as seeds, and a watershed whose mode is chosen on frame 0.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter, gaussian_gradient_magnitude
from skimage.segmentation import find_boundaries, watershed

from napari_pml import METHODS, Session, open_video
from napari_pml.evaluation.davis import find_sequences, select_sequences
from napari_pml.evaluation.identity import follow
from napari_pml.io.label_images import read_labels
from napari_pml.methods.config import parse_config
from napari_pml.types import Labels
from napari_pml.video.video import Video

AUTO2 = "auto2"


class Auto2:
    """Moved masks, eroded, are the seeds of a watershed; which kind is the one that restores frame 0 best."""

    def __init__(self, image: NDArray[np.float32], labels: Labels):
        """Choose the mode on one frame with its mask."""
        areas = np.bincount(labels.ravel())[1:]
        self.diameter = float(np.sqrt(np.median(areas[areas > 0]) * 4 / np.pi))
        self.sign, self.threshold = fitted_threshold(image, labels > 0)
        shift = max(1, round(self.diameter / 10))
        damaged = [np.roll(labels, shift, axis) for axis in (0, 1)] + [eroded(labels, 0.2)]

        def restored(mode: str) -> float:
            return float(
                np.mean([follow([labels, self.restore(image, d, mode)], [labels] * 2).iou(1) for d in damaged])
            )

        self.scores = {mode: restored(mode) for mode in ("moved", "threshold", "edges 1", "edges 2", "edges 4")}
        self.mode = max(self.scores, key=self.scores.__getitem__)

    def restore(self, image: NDArray[np.float32], moved: Labels, mode: str) -> Labels:
        """Bring a moved mask to the cells of an image."""
        if mode == "moved":
            return moved
        seeds = eroded(moved, 0.35).astype(np.int32)
        near = distance_transform_edt(moved == 0) <= 0.2 * self.diameter
        if mode == "threshold":
            inside = near & (self.sign * gaussian_filter(image, 1) > self.threshold) | (seeds > 0)
            found = watershed(-distance_transform_edt(inside), seeds, mask=inside)
        else:
            outside = 65535
            seeds[~near] = outside
            edges = gaussian_gradient_magnitude(image, float(mode.split()[1]))
            found = watershed(edges, seeds)
            found[found == outside] = 0
        lost = np.setdiff1d(moved, found)
        return np.where(np.isin(moved, lost[lost > 0]), moved, found).astype(np.uint16)


def fitted_threshold(image: NDArray[np.float32], inside: NDArray[np.bool_]) -> tuple[int, float]:
    """Return the sign and the threshold of the smoothed image that fits a mask best."""
    smooth, best = gaussian_filter(image, 1), (-1.0, 1, 0.0)
    for sign in (1, -1):
        for threshold in np.quantile(sign * smooth, np.linspace(0.02, 0.98, 49)):
            found = sign * smooth > threshold
            best = max(best, ((found & inside).sum() / max(1, (found | inside).sum()), sign, float(threshold)))
    return best[1], best[2]


def eroded(labels: Labels, share: float) -> Labels:
    """Take off each object's rim, as wide as a share of its radius."""
    depth = distance_transform_edt(~find_boundaries(labels, mode="inner")) * (labels > 0)
    radius = np.zeros(int(labels.max()) + 1)
    np.maximum.at(radius, labels.ravel(), depth.ravel())
    return np.where(depth >= share * radius[labels], labels, 0).astype(np.uint16)


def auto2(video: Video, first: Labels) -> Iterator[Labels]:
    """Yield the masks of all frames."""
    import cv2

    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    rows, columns = np.indices(video.shape[1:], np.float32)
    image, labels, follower = np.sqrt(video.rgb(0).mean(-1)), first, None
    yield first
    for t in range(1, len(video)):
        before, image = image, np.sqrt(video.rgb(t).mean(-1))
        follower = follower or Auto2(before, first)
        x, y = np.moveaxis(flow.calc(*((255 * f).astype(np.uint8) for f in (image, before)), None), 2, 0)
        moved = cv2.remap(labels, columns + x, rows + y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT)
        labels = follower.restore(image, moved, follower.mode)
        yield labels
    print({mode: round(score, 3) for mode, score in follower.scores.items()}, flush=True)


def renumbered(labels: Labels, tracks: Labels) -> Labels:
    """Give each object the number of the track with which its IoU is above a half; others are left out."""
    new = np.zeros_like(labels)
    for label in np.unique(labels)[1:]:
        inside = labels == label
        numbers, shared = np.unique(tracks[inside], return_counts=True)
        track, n_both = max(
            zip(numbers[numbers > 0], shared[numbers > 0], strict=True), key=lambda x: x[1], default=(0, 0)
        )
        if 2 * n_both > (inside | (tracks == track)).sum():
            new[inside] = track
    return new


def by_session(video: Video, first: Labels, method: str, config: list[str]) -> Iterator[Labels]:
    """Yield the masks of all frames, in order."""
    session = Session(video, parse_config(METHODS[method], config), device="cpu", resolution="native")
    session.annotate(0, first, complete=True)
    for mask in session.propagate():
        yield mask.labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--first-mask", type=Path, help="a better mask of frame 0, in any numbers")
    parser.add_argument("--sequences", nargs="*", default=[])
    parser.add_argument("--methods", nargs="*", default=[AUTO2, "pml", "feelvos"], choices=[AUTO2, *METHODS])
    parser.add_argument("--config", nargs="*", default=[], help="KEY=VALUE each, for every method but auto2")
    parser.add_argument("--frames", type=int, default=31, help="so many frames of each video, frame 0 included")
    args = parser.parse_args()
    print("| video | method | IoU | identity | identity on the last frame | cells there | seconds a frame |")
    print("|---|---|---|---|---|---|---|")
    for sequence in select_sequences(find_sequences(args.data), args.sequences):
        whole = open_video(sequence.frames[0].parent)
        n = min(args.frames, len(whole))
        video = open_video(np.stack([whole.read(t) for t in range(n)]), channel_axis=3)
        truth = [sequence.mask(t) for t in range(n)]
        if args.first_mask:
            truth[0] = renumbered(read_labels(args.first_mask), truth[0])
        for method in args.methods:
            began = time.perf_counter()
            follower = auto2(video, truth[0]) if method == AUTO2 else by_session(video, truth[0], method, args.config)
            masks = list(follower)
            seconds = (time.perf_counter() - began) / n
            found = follow(masks, truth)
            left = int((~np.isnan(found.ious[-1])).sum())
            print(
                f"| {sequence.name} | {' '.join([method, *args.config])} | {found.iou(n - 1):.3f} "
                f"| {found.identity(n - 1):.3f} | {found.identity_on(n - 1):.3f} | {left} | {seconds:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
