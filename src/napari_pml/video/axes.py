"""Which axis of an array is which, and what is chosen where there is more than one video in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_pml.errors import ChoiceError, VideoError

COLOURS = (3, 4)
"""Lengths of an axis of colours: RGB, or RGBA."""

SEQUENCES = "TIQ"
"""Letters of axes along which frames follow each other; the last two say no more than that they do."""


@dataclass(frozen=True)
class Selection:
    """What is to be seen of a file that holds more than a video; None where there is nothing to choose.

    Attributes:
        channel_axis: the axis of an array that holds channels.
        position: which of several positions, scenes or series, counted from 0.
        channel: which channel, counted from 0; None: all, as colours.
        plane: which plane in depth, counted from 0.
    """

    channel_axis: int | None = None
    position: int | None = None
    channel: int | None = None
    plane: int | None = None

    def as_record(self) -> dict[str, int]:
        """Return what is chosen, ready for JSON."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Axes:
    """How frames lie in an array.

    Attributes:
        shape: (T, H, W, C) of the video.
        key: what to index the array with, one entry for each of its axes; None stands for the number of a frame.
        order: of the axes that are left then, as rows, columns and, if there are any, channels.
    """

    shape: tuple[int, int, int, int]
    key: tuple[int | slice | None, ...]
    order: tuple[int, ...]

    def frame(self, array: Any, t: int) -> NDArray[np.generic]:
        """Return frame `t` of the array as (H, W, C)."""
        key = [t if entry is None else entry for entry in self.key]
        while key[-1] == slice(None) and len(key) > 1:
            key.pop()  # array[t], where that is enough, is understood by everything that holds frames
        read = np.asarray(array[tuple(key) if len(key) > 1 else key[0]])
        return read.transpose(self.order).reshape(self.shape[1:])


def understand(shape: Sequence[int], names: str | None, selection: Selection, source: str) -> Axes:
    """Find out which axis is which.

    Args:
        shape: of the array.
        names: a letter for each axis, as in OME: T, C, Z, Y, X, S for the colours of a pixel, and any other. None if
            nothing is known of them.
        selection: what is chosen.
        source: where the array comes from, to show to people.

    Raises:
        VideoError: this is no video, or something has to be chosen, or what was chosen is not there.
    """
    if names is None:
        names = _guessed(shape, selection.channel_axis)
    elif selection.channel_axis is not None:
        names = _with_channels(names, shape, selection.channel_axis)
    long = [axis for axis, n in enumerate(shape) if n > 1]
    rows, columns = names.find("Y"), names.find("X")
    time = next((names.index(name) for name in SEQUENCES if name in names), -1)
    if time not in long and names.find("Z") in long and selection.plane is None:
        time = names.index("Z")  # nothing moves: the planes of a stack are what is gone through
    key: list[int | slice | None] = []
    channels = -1
    for axis, (name, n) in enumerate(zip(names, shape, strict=True)):
        if axis == time:
            key.append(None)
        elif axis in (rows, columns) or name == "S":
            key.append(slice(None))
            channels = axis if name == "S" else channels
        elif name == "C" and selection.channel is None and (n == 1 or "S" not in names):
            key.append(0 if n == 1 else slice(None))
            channels = channels if n == 1 else axis
        else:
            key.append(_chosen(name, n, selection, source))
    if -1 in (time, rows, columns):
        raise VideoError(_one_image(shape, names, source))
    kept = [axis for axis, entry in enumerate(key) if isinstance(entry, slice)]
    order = tuple(kept.index(axis) for axis in (rows, columns, channels) if axis >= 0)
    size = (shape[time], shape[rows], shape[columns], shape[channels] if channels >= 0 else 1)
    return Axes(size, tuple(key), order)


def _chosen(name: str, n: int, selection: Selection, source: str) -> int:
    """Return which of n is seen along an axis."""
    kind = {"C": "channel", "Z": "plane"}.get(name, "position")
    chosen: int | None = getattr(selection, kind)
    return choose(kind, n, None if chosen is None and n == 1 else chosen, source) if n > 1 or chosen else 0


def choose(kind: str, n: int, chosen: int | None, source: str, names: Sequence[str] = ()) -> int:
    """Return which of n positions, channels or planes is meant; the only one need not be chosen.

    Raises:
        VideoError: it has to be chosen, or there is no such one.
    """
    if chosen is None and n == 1:
        return 0
    listed = f" ({', '.join(names[:20])})" if any(names) else ""
    if chosen is None:
        raise ChoiceError(
            f"{source} holds {n} {kind}s{listed}, and a video is one of them. Choose {kind} 0 to {n - 1}: {kind}=0 in "
            f"open_video, --{kind} 0 on the command line.",
            kind,
            n,
            names if any(names) else (),
        )
    if not 0 <= chosen < n:
        raise VideoError(f"{source} has no {kind} {chosen}, only 0 to {n - 1}{listed}. Choose another one.")
    return chosen


def _guessed(shape: Sequence[int], channel_axis: int | None) -> str:
    """Return names for the axes of an array of which nothing but the shape is known.

    Axes in front that are one long are no axes, as long as one is left for time.
    """
    n = len(shape)
    if channel_axis is not None:
        if n < 4 or not -n <= channel_axis < n:
            raise VideoError(
                f"With channel_axis, an array must have the three axes T, Y, X and that one (0..3); it is "
                f"{channel_axis} for shape {tuple(shape)}."
            )
        channels = channel_axis % n
        others = _without_ones([size for axis, size in enumerate(shape) if axis != channels], "YX")
        named = others[:channels] + "C" + others[channels:]
    else:
        named = _without_ones(shape, "YXS" if n >= 4 and shape[-1] in COLOURS else "YX")
    if named.count("T") == 1 and "?" not in named and not (n == 3 and shape[2] in COLOURS):
        return named
    if n <= 3:
        advice = "This is one image: stack all frames along a new first axis."
    elif n == 4:
        advice = "Say which axis holds channels (channel_axis), or choose one z-slice, such as array[:, 0]."
    else:
        advice = "Choose one position or one z-slice, such as array[:, 0]."
    raise VideoError(
        "Understood are (T, Y, X) for grey and (T, Y, X, 3) or (T, Y, X, 4) for colour, and further axes of length 1; "
        f"got shape {tuple(shape)}. {advice}"
    )


def _without_ones(shape: Sequence[int], last: str) -> str:
    """Name axes of which the last ones are known: T is the one in front that is longer than 1, or the last of them."""
    front = list(shape[: len(shape) - len(last)])
    time = next((axis for axis, n in enumerate(front) if n > 1), len(front) - 1)
    return "".join("T" if axis == time else "1" if n == 1 else "?" for axis, n in enumerate(front)) + last


def _with_channels(names: str, shape: Sequence[int], channel_axis: int) -> str:
    """Return names of axes of which one holds channels, whatever its own name is."""
    if not -len(shape) <= channel_axis < len(shape) or names[channel_axis] in "YX":
        raise VideoError(f"channel_axis is {channel_axis} for axes {names} of shape {tuple(shape)}. Choose another.")
    letters = ["?" if name in "CS" else name for name in names]
    letters[channel_axis] = "C"
    return "".join(letters)


def _one_image(shape: Sequence[int], names: str, source: str) -> str:
    of_channels = f" of {shape[names.index('C')]} channels" if "C" in names else ""
    return (
        f"{source} has the axes {names} of shape {tuple(shape)}. This is one image{of_channels}: a video has an axis "
        "of time, T. Stack all frames along one, or say so in the file."
    )
