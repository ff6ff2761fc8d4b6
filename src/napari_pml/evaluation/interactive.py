"""The interactive protocol: a robot annotates, looks at all masks, corrects the worst frame, and so on.

It drives a `Session` as the viewer does, so that what is measured is what a person gets. After the interactive track
of DAVIS (Caelles et al., "The 2018 DAVIS challenge on video object segmentation", 2018).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_pml.engine.session import Session
from napari_pml.errors import DatasetError
from napari_pml.evaluation.measures import boundary_accuracy, region_similarity
from napari_pml.evaluation.robot import Tool, correction, first_strokes
from napari_pml.types import UNLABELLED, Labels


@dataclass(frozen=True)
class Protocol:
    """How the robot works.

    Attributes:
        tool: what it annotates with; "mask" gives the true mask of a frame, the ceiling of what strokes can reach.
        background: it marks the background too when it begins.
        interactions: maximum number, counting the first strokes; fewer if every mask is right earlier (DAVIS: 8).
        starts: number of runs on a video, each beginning on another frame (DAVIS: 3).
    """

    tool: Tool | Literal["mask"] = "scribble"
    background: bool = False
    interactions: int = 8
    starts: int = 3


@dataclass(frozen=True)
class Interaction:
    """One round: strokes on a frame, and the masks that come of them.

    Measures are means over all objects of the video and over all frames, those annotated and those on which an
    object is absent included. Only the machine's time counts: the robot's own and that of measuring do not.

    Attributes:
        number: 1 for the first strokes.
        frame: which was annotated.
        j: region similarity in 0..1.
        f: boundary accuracy in 0..1.
        spoilt: share of the pixels of all frames that were right before this round and are wrong after it.
        seconds_to_frame: from the strokes to the mask of that frame.
        seconds_to_video: from the strokes to the masks of all frames.
        seconds_in_all: `seconds_to_video` of all interactions so far.
    """

    number: int
    frame: int
    j: float
    f: float
    spoilt: float
    seconds_to_frame: float
    seconds_to_video: float
    seconds_in_all: float

    @property
    def j_and_f(self) -> float:
        """Mean of `j` and `f`."""
        return (self.j + self.f) / 2


class TrueMasks:
    """The true masks of a video, read when they are needed, and the objects on any of them."""

    def __init__(self, read: Callable[[int], Labels], n_frames: int):
        """Look through all frames once.

        Args:
            read: frame number -> (H, W) uint16 labels, 0 = background.
            n_frames: T.

        Raises:
            DatasetError: no frame shows an object.
        """
        self._read, self._n_frames = read, n_frames
        self._present = [frozenset(np.unique(read(t)).tolist()) - {0} for t in range(n_frames)]
        self.object_ids = sorted(frozenset().union(*self._present))
        if not self.object_ids:
            raise DatasetError("The true masks show no object; at least one frame must, for the robot to begin on.")

    def __len__(self) -> int:
        return self._n_frames

    def __getitem__(self, t: int) -> Labels:
        return self._read(t)

    def starts(self, n: int) -> list[int]:
        """Return the frames to begin on: n evenly spaced ones from the first on, each moved on to the next with an
        object; fewer than n if the same one comes twice.
        """
        with_object = [t for t, present in enumerate(self._present) if present]
        wanted = (i * len(self) // n for i in range(n))
        return sorted({next((t for t in with_object if t >= start), with_object[0]) for start in wanted})


def interact(session: Session, truth: TrueMasks, protocol: Protocol, start: int) -> Iterator[Interaction]:
    """Let the robot annotate a session; yields after every interaction.

    The worst frame, which it corrects next, is the one with the lowest mean J over objects. It may be one that has
    been annotated before: new strokes then join the old ones. The robot stops early when every mask is right.

    Args:
        session: with nothing annotated.
        truth: of the same video.
        protocol: how to work.
        start: the first frame to annotate; it shows an object.

    Raises:
        DatasetError: masks and video differ in length.
        AnnotationError: masks and video differ in size.
    """
    if len(truth) != len(session.video):
        raise DatasetError(
            f"{session.video.name} has {len(session.video)} frames, but there are {len(truth)} true masks; "
            "every frame needs one."
        )
    t, seconds = start, 0.0
    before: list[Labels] = []
    for number in range(1, protocol.interactions + 1):
        annotation = _annotation(session, truth, protocol, t, first=number == 1)
        began = time.perf_counter()
        session.annotate(t, annotation, complete=protocol.tool == "mask")
        masks = session.propagate(t)
        next(masks)
        to_frame = time.perf_counter() - began
        for _ in masks:
            pass
        to_video = time.perf_counter() - began
        seconds += to_video
        region, boundary = _measure(session, truth)
        after = [session.masks[t].labels for t in range(len(truth))]
        spoilt = _spoilt(before, after, truth)
        before = after
        j, f = float(region.mean()), float(boundary.mean())
        yield Interaction(number, t, j, f, spoilt, to_frame, to_video, seconds)
        by_frame = region.mean(axis=0)
        if by_frame.min() == 1:
            return
        t = int(by_frame.argmin())


def _annotation(session: Session, truth: TrueMasks, protocol: Protocol, t: int, *, first: bool) -> Labels:
    """Return what the robot has annotated on frame t, and what it adds: strokes on it, or its true mask."""
    if protocol.tool == "mask":
        return truth[t]
    if first:
        return first_strokes(truth[t], protocol.tool, background=protocol.background)
    strokes = correction(session.masks[t].labels, truth[t], protocol.tool)
    painted = session.annotations.frames.get(t, np.zeros_like(strokes))
    return np.where(strokes == UNLABELLED, painted, strokes)


def _spoilt(before: list[Labels], after: list[Labels], truth: TrueMasks) -> float:
    """Return the share of the pixels of all frames that were right before and are wrong now; 0 in the first round."""
    spoilt = [np.mean((b == truth[t]) & (a != truth[t])) for t, (b, a) in enumerate(zip(before, after, strict=False))]
    return float(np.mean(spoilt)) if spoilt else 0.0


def _measure(session: Session, truth: TrueMasks) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return J and F of every object on every frame, (O, T) each."""
    region = np.empty((len(truth.object_ids), len(truth)))
    boundary = np.empty_like(region)
    for t in range(len(truth)):
        mask, true = session.masks[t].labels, truth[t]
        for row, object_id in enumerate(truth.object_ids):
            region[row, t] = region_similarity(mask == object_id, true == object_id)
            boundary[row, t] = boundary_accuracy(mask == object_id, true == object_id)
    return region, boundary
