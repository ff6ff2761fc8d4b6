"""Arrays of frames that are made when they are needed, indexed as numpy indexes arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


def take(frame: Callable[[int], NDArray[Any]], shape: Sequence[int], dtype: DTypeLike, key: Any) -> NDArray[Any]:
    """Return what numpy's indexing returns for an array of frames, making only the frames that it needs.

    Args:
        frame: returns frame t of the first axis.
        shape: of the array.
        dtype: of the array.
        key: anything that numpy understands between the brackets of `array[key]`.

    Raises:
        IndexError: the key does not fit the shape.
    """
    entries = _simple(key, len(shape))
    if entries is not None:
        within = tuple(entries[1:])
        times = np.arange(shape[0])[entries[0]]
        if times.ndim == 0:
            return np.asarray(np.asarray(frame(int(times)))[within])
        if not times.size:
            return np.empty((0, *shape[1:]), dtype)[(slice(None), *within)]
        return np.stack([np.asarray(frame(t))[within] for t in times.tolist()])
    # Anything else: numpy itself says from which frame, and from where on it, each number comes.
    n_pixels = int(np.prod(shape[1:]))
    times = np.broadcast_to(np.arange(shape[0]).reshape(-1, *[1] * (len(shape) - 1)), shape)[key]
    places = np.broadcast_to(np.arange(n_pixels).reshape(shape[1:]), shape)[key]
    taken = np.empty(np.shape(times), dtype)
    for t in np.unique(times).tolist():
        from_it = times == t
        taken[from_it] = np.asarray(frame(t)).ravel()[places[from_it]]
    return taken


def _simple(key: Any, ndim: int) -> list[Any] | None:
    """Return a key as one entry for each axis, all whole numbers or slices, but numbers of frames in any list.

    None if it is of another kind.
    """
    entries = list(key) if isinstance(key, tuple) else [key]
    dots = [place for place, entry in enumerate(entries) if entry is Ellipsis]
    if len(dots) > 1 or len(entries) - len(dots) > ndim:
        return None
    place = dots[0] if dots else len(entries)
    entries[place : place + 1] = [slice(None)] * (ndim - len(entries) + len(dots))
    others = all(isinstance(entry, int | np.integer | slice) and not isinstance(entry, bool) for entry in entries[1:])
    first = entries[0]
    if isinstance(first, bool) or first is None or not others:
        return None
    return entries if isinstance(first, slice) or np.ndim(first) <= 1 else None
