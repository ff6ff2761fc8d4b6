"""Where the finished masks of one video are kept: a Zarr group, in memory or on disk.

One chunk is one frame, so that writing a frame touches nothing else and the viewer reads only what it shows.
Compressed masks are small: a thousand frames of 854 x 480 take a few megabytes.
"""

from __future__ import annotations

import threading
import time
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec
from zarr.storage import MemoryStore

from napari_pml.disk.arrays import DelayedStore
from napari_pml.errors import DamagedMasksError, ExportError
from napari_pml.recent import Recent
from napari_pml.store.certainty import certainty
from napari_pml.types import MAX_REVISION, PREVIEW_REVISION, UNREADABLE, Confidence, FrameMask, Labels

CHECKED = (ZstdCodec(level=0, checksum=True),)
"""How arrays are compressed: what the disk has changed since is noticed."""

ONE_FOLDER = {"name": "default", "separator": "."}
"""How chunks are named: thousands of frames lie in one folder, not each in several of its own."""

FLUSH_S = 10.0
"""After so many seconds, masks are on the disk itself: to wait for that at each would take longer than to make it."""

NO_MASK = -1
"""The revision of a frame that has no mask yet."""

NO_CHECKSUM, UNKNOWN = 0, 1
"""In place of a checksum: that of no mask at all; that of a mask which an earlier version has written."""

RECENT_BYTES = 64 * 1024**2
"""Bytes of the masks used last that stay in memory, uncompressed: some 75 masks of 854 x 480."""


class MaskStore:
    """The masks of one video, and of which revision each is; for one writer and many readers.

    The group holds `labels` (T, H, W) uint16, `confidence` (T, h, w) uint8 (1/255 each), `certainty` (T,) float32,
    `revision` (T,) int64 and `checksum` (T,) uint32 of all that. A frame's revision is taken away before its pixels are
    written and set after them, so that a killed process leaves no half-written frame that counts as finished. (Zarr
    writes every chunk in one piece.) After a power cut, any file may be an earlier one or gone. So `flushed` (T,) says
    which revisions are on the disk itself, and when the store is opened, the others are held against their checksums.

    A preview (of revision `PREVIEW_REVISION`) never takes the place of a finished mask: it lies over it in memory until
    the next finished one comes.

    Attributes:
        shape: (T, H, W) of the video.
        grid: (h, w) of the cells of confidence.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        grid: tuple[int, int],
        path: Path | None = None,
        writing: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """Make an empty store, or open the one at `path` again.

        Args:
            shape: (T, H, W) of the video.
            grid: (h, w) of its cells of `CONFIDENCE_STRIDE` pixels.
            path: of the Zarr group; None keeps it in memory.
            writing: is entered whenever something is written, and may refuse that.

        Raises:
            DamagedMasksError: `path` holds something else, or masks of another shape.
            ExportError: it cannot be written.
        """
        self.shape, self.grid, self._writing = shape, grid, writing
        self._lock = threading.RLock()
        n_frames = shape[0]
        wanted = {
            "labels": ((1, *shape[1:]), shape, "uint16", 0),
            "confidence": ((1, *grid), (n_frames, *grid), "uint8", 0),
            "revision": ((n_frames,), (n_frames,), "int64", NO_MASK),
            "certainty": ((n_frames,), (n_frames,), "float32", np.nan),
            "checksum": ((n_frames,), (n_frames,), "uint32", NO_CHECKSUM),
            "flushed": ((n_frames,), (n_frames,), "int64", NO_MASK),
        }
        self._disk = None if path is None else DelayedStore(path)
        try:
            group: Any = zarr.open_group(self._disk or MemoryStore(), mode="a")
            is_earlier = "revision" in group and "checksum" not in group
            for name, (chunks, size, dtype, empty) in wanted.items():
                if name not in group:
                    group.create_array(
                        name,
                        shape=size,
                        chunks=chunks,
                        dtype=dtype,
                        fill_value=empty,
                        compressors=CHECKED,
                        chunk_key_encoding=ONE_FOLDER,
                    )
            if is_earlier:
                group["checksum"][:] = UNKNOWN
            found = {name: (group[name].chunks, group[name].shape, str(group[name].dtype)) for name in wanted}
        except OSError as error:
            raise ExportError(f"Masks cannot be kept at {path}: {error}. Choose another place.") from error
        except UNREADABLE as error:
            raise DamagedMasksError(
                f"Masks cannot be kept at {path}, which is damaged or holds something else: {error}."
            ) from error
        for name, (chunks, size, dtype, _) in wanted.items():
            if found[name] != (chunks, size, dtype):
                raise DamagedMasksError(
                    f"{path} holds masks of another video: its {name} are {found[name]}, this video needs "
                    f"{(chunks, size, dtype)}."
                )
        self._labels, self._confidence, self._revision, *others = (group[name] for name in wanted)
        self._certainty, self._checksum, self._flushed = others
        self._path = path
        with self._readable():
            self._revisions: NDArray[np.int64] = self._revision[:]
            self._certainties: NDArray[np.float32] = self._certainty[:]
            self._checksums: NDArray[np.uint32] = self._checksum[:]
            self._on_disk: NDArray[np.int64] = self._flushed[:]
        if self._revisions.max() >= MAX_REVISION:
            raise DamagedMasksError(f"The masks in {path} are damaged: no revision is as high as they say.")
        self._flushed_at = time.monotonic()
        if path is None:  # nobody will open it again, and a plain array is written to at once
            self._revision, self._checksum = self.revisions, self._checksums.copy()
        else:
            unsure = (self._on_disk != self._revisions) & (self._revisions != NO_MASK)
            self._check_frames(np.flatnonzero(unsure).tolist())
        self._recent = _recent_masks()
        self._previews: MaskStore | None = None  # those over finished masks, as soon as there is one
        self._previewed: set[int] = set()

    @property
    def labels(self) -> Any:
        """The (T, H, W) uint16 Zarr array of what is kept; 0 where there is no mask yet."""
        return self._labels

    @property
    def revisions(self) -> NDArray[np.int64]:
        """(T,) int64: the revision that each frame's mask was computed from, -1 for none; a copy."""
        return self._revisions.copy()  # replaced, never changed: nobody who asks waits for a frame to be written

    @property
    def certainties(self) -> NDArray[np.float32]:
        """(T,) float32: the `certainty` of each frame's mask, 0..1, NaN for none; a copy."""
        return self._certainties.copy()

    @property
    def finished(self) -> list[int]:
        """The frames whose mask is not a preview, in order; it may be of annotations that have changed since."""
        return np.flatnonzero(self.revisions > PREVIEW_REVISION).tolist()

    @property
    def previewed(self) -> list[int]:
        """The frames whose finished mask has a preview over it, in order."""
        with self._lock:
            return sorted(self._previewed)

    def since(self, revision: int) -> MaskStore:
        """Return the same masks, to be read, as if those of an earlier revision were not there."""
        later = copy(self)
        earlier = self._revisions < revision
        later._revisions = np.where(earlier, NO_MASK, self._revisions)
        later._certainties = np.where(earlier, np.nan, self._certainties)
        later._recent = _recent_masks()
        return later

    def __contains__(self, t: int) -> bool:
        """Whether frame `t` has a mask."""
        return 0 <= t < self.shape[0] and bool(self._revisions[t] != NO_MASK)

    def __getitem__(self, t: int) -> FrameMask:
        """Return the mask of frame `t`, the same object as long as it stays in memory.

        Raises:
            KeyError: it has none.
            ExportError: it is damaged.
        """
        with self._lock:
            if (recent := self._recent.get(t)) is not None:
                return recent
            if t not in self:
                raise KeyError(t)
            found = self._read(t)
            if found is None:
                with self._writing():
                    self._forget([t])
                raise ExportError(f"The mask of frame {t} is damaged, and taken away. Propagate to make it again.")
            labels, stored = found
            return self._remember(FrameMask(t, labels, _as_confidence(stored), int(self._revisions[t])))

    def latest(self, t: int) -> FrameMask:
        """Return the preview over the finished mask of frame `t`, or if there is none, what `[t]` returns."""
        with self._lock:
            return self._previews[t] if self._previews is not None and t in self._previewed else self[t]

    def latest_labels(self, t: int) -> Labels:
        """Return the (H, W) labels of `latest` alone, 0 if there are none; nobody waits for a frame to be written."""
        above = self._previews if t in self._previewed else None
        with self._readable():
            labels: Labels = (above or self)._labels[t]
        return labels

    def confidence(self, t: int) -> Confidence:
        """Return the (h, w) confidence of `latest` alone; KeyError if frame `t` has no mask."""
        with self._lock:
            if self._previews is not None and t in self._previewed:
                return self._previews.confidence(t)
            if t not in self:
                raise KeyError(t)
            with self._readable():
                return _as_confidence(self._confidence[t])

    def put(self, mask: FrameMask) -> None:
        """Keep a mask instead of the frame's earlier one, if any; a preview over a finished one.

        Raises:
            ExportError: the disk refuses.
            ProjectClosedError: the masks are those of a project that was closed; they stay as they are.
        """
        with self._lock, self._writing():
            if mask.revision == PREVIEW_REVISION and self._revisions[mask.t] > PREVIEW_REVISION:
                if self._previews is None:
                    self._previews = MaskStore(self.shape, self.grid)
                self._previews.put(mask)
                self._previewed.add(mask.t)
                return
            self._recent.pop(mask.t)
            stored = np.rint(mask.confidence * 255).astype(np.uint8)
            before, after, certainties = self.revisions, self.revisions, self.certainties
            before[mask.t], after[mask.t] = NO_MASK, mask.revision
            certainties[mask.t] = certainty(mask.labels, mask.confidence)
            self._checksums[mask.t] = _checksum(mask.labels, stored, mask.revision)
            try:
                self._will_change((self._revisions < mask.revision) | (np.arange(self.shape[0]) == mask.t))
                if mask.t in self:
                    self._revision[:] = before
                self._labels[mask.t] = mask.labels
                self._confidence[mask.t] = stored
                self._checksum[:] = self._checksums
                self._revision[:] = after
                self._revisions, self._certainties = after, certainties
                if time.monotonic() - self._flushed_at > FLUSH_S:
                    self.flush()
            except OSError as error:
                self._revisions = before  # whatever of it is on the disk does not count
                raise ExportError(f"The mask of frame {mask.t} cannot be kept: {error}.") from error
            self._previewed.discard(mask.t)
            self._remember(replace(mask, confidence=_as_confidence(stored)))

    def clear(self) -> None:
        """Forget all masks; ProjectClosedError if they are those of a project that was closed."""
        with self._lock, self._writing():
            finished = np.flatnonzero(self._revisions != NO_MASK)
            self._revisions = np.full_like(self._revisions, NO_MASK)
            self._revision[:] = self._revisions
            self._certainties = np.full_like(self._certainties, np.nan)
            self._recent.clear()
            self._previewed.clear()
            for t in finished.tolist():
                self._labels[t] = 0
            self.flush()

    def flush(self) -> None:
        """See to it that all masks are on the disk itself, so that not even a power cut takes them back.

        Raises:
            OSError: the disk refuses.
        """
        with self._lock:
            self._flushed_at = time.monotonic()
            if self._disk is not None:
                self._disk.flush()
                self._on_disk = np.where(self._revisions > PREVIEW_REVISION, self._revisions, NO_MASK)
                self._certainty[:], self._flushed[:] = self._certainties, self._on_disk
                self._disk.flush()

    def _will_change(self, frames: NDArray[np.bool_]) -> None:
        """Take back what the disk says of having the masks of some frames: they are about to be replaced."""
        frames = frames & (self._on_disk != NO_MASK)
        if self._disk is not None and frames.any():
            self._on_disk = np.where(frames, NO_MASK, self._on_disk)
            self._flushed[:] = self._on_disk
            self._disk.flush()

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Turn what Zarr says about damaged masks into an ExportError."""
        try:
            yield
        except UNREADABLE as error:
            raise DamagedMasksError(f"The masks in {self._path} are damaged: {error}.") from error

    def _read(self, t: int) -> tuple[Labels, NDArray[np.uint8]] | None:
        """Return the labels and the stored confidence of a frame, or None if they are not those that were written."""
        try:
            labels, stored = self._labels[t], self._confidence[t]
        except UNREADABLE:
            return None
        wanted = UNKNOWN, _checksum(labels, stored, int(self._revisions[t]))
        return (labels, stored) if self._checksums[t] in wanted else None

    def _check_frames(self, frames: list[int]) -> None:
        """Let go of those frames that are damaged, and warn; of the others, find the certainty."""
        damaged = []
        for t in frames:
            if (found := self._read(t)) is None:
                damaged.append(t)
            else:
                self._certainties[t] = certainty(found[0], _as_confidence(found[1]))
        if damaged:
            warnings.warn(
                f"{len(damaged)} masks in {self._path} were not on the disk yet when work ended, from frame "
                f"{damaged[0]} on. They are made again.",
                stacklevel=4,
            )
            self._forget(damaged)

    def _forget(self, frames: list[int]) -> None:
        """Take the masks of some frames away."""
        left = self.revisions
        left[frames] = NO_MASK
        self._revision[:] = left
        self._revisions = left

    def _remember(self, mask: FrameMask) -> FrameMask:
        """Keep a mask in memory, and let go of those used least recently."""
        mask.labels.flags.writeable = mask.confidence.flags.writeable = False  # they are shared from now on
        self._recent.put(mask.t, mask)
        return mask


class FinishedMasks(Sequence[FrameMask]):
    """The latest masks of some frames, read from the store when asked for: a long video stays out of memory."""

    def __init__(self, masks: MaskStore, frames: Sequence[int]):
        self._masks, self._frames = masks, frames

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> FrameMask:  # type: ignore[override]  # a single one at a time
        return self._masks.latest(self._frames[index])


def _checksum(labels: Labels, stored: NDArray[np.uint8], revision: int) -> int:
    """Return a number that differs between masks, and is never `UNKNOWN`."""
    found = zlib.crc32(str(revision).encode())
    for array in (labels, stored):
        found = zlib.crc32(np.ascontiguousarray(array).data, found)
    return max(found, UNKNOWN + 1)


def _recent_masks() -> Recent[int, FrameMask]:
    return Recent(RECENT_BYTES, lambda mask: mask.labels.nbytes + mask.confidence.nbytes)


def _as_confidence(stored: NDArray[np.uint8]) -> Confidence:
    return stored.astype(np.float32) / np.float32(255)
