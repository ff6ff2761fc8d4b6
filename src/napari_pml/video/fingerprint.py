"""What tells one video from another, and whether it has changed, from a few of its frames."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Mapping

import numpy as np

from napari_pml.errors import VideoError
from napari_pml.video.video import Video

FINGERPRINT_FRAMES, FINGERPRINT_SPAN = 4, 32
"""Number of frames that tell one video from another, and of the first frames among which they lie: a compressed file
gives these at once, but would have to be decoded up to any later one."""

LATER_FRAMES, LATER_REACH = 8, 250
"""Number of frames, spread over the whole video, that tell whether it has changed; and of those decoded to get at one
of them, which is how far encoders put key frames apart by themselves. Where they are farther apart, decoding up to the
last frame could take as long as the video itself, and stored sizes must do: see `far_sizes`."""


def fingerprint(video: Video) -> str:
    """Return 16 characters that differ between videos: a hash of shape, type and a few frames."""
    found = hashlib.sha256(f"{video.shape} {video.dtype}".encode())
    last = min(len(video), FINGERPRINT_SPAN) - 1
    for t in np.unique(np.linspace(0, last, FINGERPRINT_FRAMES).round().astype(int)).tolist():
        found.update(np.ascontiguousarray(video.read(t)).tobytes())
    return found.hexdigest()[:16]


def later_frames(video: Video) -> dict[int, str]:
    """Return what frames spread over a video show, as 16 characters that differ where they do; none of damaged ones."""
    chosen = [0]
    for t in np.linspace(0, len(video) - 1, LATER_FRAMES).round().astype(int).tolist():
        key = video.key_frames[bisect_right(video.key_frames, t) - 1]
        chosen.append(key if key > chosen[-1] else min(t, key + LATER_REACH))
    shown = {t: _shown(video, t) for t in chosen}
    return {t: digest for t, digest in shown.items() if digest is not None}


def far_sizes(video: Video) -> dict[int, str]:
    """Return what tells changes of frames that are too far behind a key frame for `later_frames`; nothing is decoded.

    A compressed frame that shows something else has another size, and so have those after it: an edit that leaves all
    of them as they are is next to impossible. Sizes are known since the file was opened, so this takes no time.

    Returns:
        0 -> 16 characters for the sizes of all frames that are near enough; then, for up to eight stretches of the
        others, the first frame of each -> the same for its sizes. Empty if there are no others.
    """
    times, keys = np.arange(len(video)), np.asarray(video.key_frames)
    is_far = times - keys[np.searchsorted(keys, times, side="right") - 1] > LATER_REACH
    if not is_far.any():
        return {}
    sizes = np.asarray(video.sizes, np.int64)
    parts = [times[~is_far], *np.array_split(times[is_far], LATER_FRAMES)]
    return {int(part[0]): hashlib.sha256(sizes[part].tobytes()).hexdigest()[:16] for part in parts if part.size}


def changed_frame(video: Video, later: Mapping[int, str], sizes: Mapping[int, str]) -> int | None:
    """Return the first of some frames that are not what they were, or None.

    A damaged frame says nothing. Neither do sizes where those of frames that show the same are others, too: then the
    same frames are in another kind of file.

    Args:
        video: as it is now.
        later: what `later_frames` returned.
        sizes: what `far_sizes` returned.
    """
    for t, digest in later.items():
        if _shown(video, t) not in (digest, None):
            return t
    present = far_sizes(video) if sizes else {}
    if present.get(0) != sizes.get(0):
        return None
    return next((t for t, digest in sizes.items() if present.get(t) != digest), None)


def _shown(video: Video, t: int) -> str | None:
    """Return what a frame shows, as 16 characters; None if it is damaged: a repeat of its neighbour says nothing."""
    try:
        frame = video.read(t)
    except VideoError:
        return None
    return None if t in video.damaged else hashlib.sha256(np.ascontiguousarray(frame).tobytes()).hexdigest()[:16]
