"""One way to look at every kind of video: a file, a folder of images, a TIFF, a Zarr, or an array in memory.

Nothing is ever loaded as a whole: one frame is read when it is asked for.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from napari_pml.disk.untrusted import MAX_FRAMES
from napari_pml.errors import DamagedFrameError, VideoError
from napari_pml.grid import IntensityScale
from napari_pml.video.animation import AnimationFrames
from napari_pml.video.arrays import IMAGE_SUFFIXES, ArrayFrames, open_zarr
from napari_pml.video.axes import Selection
from napari_pml.video.compressed import VideoFile
from napari_pml.video.folder import ImageFolder
from napari_pml.video.frames import Frames
from napari_pml.video.identity import is_zarr
from napari_pml.video.indexing import take
from napari_pml.video.tiff import TIFF_LIKE, TiffFrames

RECENT_FRAMES = 4
"""Frames kept as they were read: napari asks for the same one twice a step."""

SCALE_FRAMES = 16
"""Frames on which the intensity scale is measured."""

SCALE_PIXELS = 2_000_000
"""Pixels on which the intensity scale is measured, over all those frames."""

FOREIGN = {
    ".czi": ("ZEISS ZEN", "bioio-czi"),
    ".nd2": ("Nikon NIS-Elements", "bioio-nd2"),
    ".lif": ("Leica LAS X", "bioio-lif"),
    ".vsi": ("Olympus cellSens", "bioio-vsi"),
    ".oib": ("Olympus FluoView", "bioio-bioformats"),
}
"""Suffixes of recordings that others read: of which program they are, and which part of BioIO reads them."""


class Video:
    """T frames of H x W pixels, read one at a time; every method may be called from any thread.

    Attributes:
        name: of the file or folder, to show to people.
        path: of the file or folder, or None for an array.
        selection: what of the file it is, where that had to be chosen.
        shape: (T, H, W).
        dtype: of the stored intensities.
        n_channels: C of what `read` returns.
        fps: frames per second, on average; 10 where the source does not say.
        times: when each frame is shown, in seconds since the first; None where the source does not say.
        key_frames: the frames that can be read without decoding others, in order; all, unless the file is compressed.
        sizes: of every frame of a video file as it is stored there, in bytes; empty for other sources.
        pixel: (height, width) of a pixel in units of length, if the file says so, else None.
        unit: of length, such as "micrometer".
        strict: whether a damaged frame is an error, rather than a repeat of its neighbour.
    """

    def __init__(
        self,
        name: str,
        frames: Frames,
        path: Path | None = None,
        selection: Selection | None = None,
        strict: bool = False,
    ) -> None:
        if frames.shape[0] > MAX_FRAMES:
            raise VideoError(
                f"{name} says that it has {frames.shape[0]} frames, and {MAX_FRAMES} are the limit. Cut it into parts."
            )
        self.name = name
        self.path = path
        self.selection = selection or Selection()
        self.strict = strict
        self.shape = frames.shape[:3]
        self.dtype = frames.dtype
        self.fps = frames.fps
        self.times, self.pixel, self.unit = frames.times, frames.pixel, frames.unit
        self.key_frames: Sequence[int] = range(len(self)) if frames.key_frames is None else frames.key_frames
        self.sizes = frames.sizes
        self.n_channels = frames.shape[3]
        self._read = lru_cache(RECENT_FRAMES)(frames.read)
        self._damaged: set[int] = set()
        self._scale: IntensityScale | None = None
        self._scale_lock = threading.Lock()

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, t: int) -> NDArray[np.generic]:
        """Return frame `t` as stored: (H, W, C), read-only.

        A damaged frame is shown as a repeat of the last whole one before it, or of the first one.

        Raises:
            IndexError: `t` is not in 0..T-1; negative numbers do not count from the end.
            VideoError: the video cannot be read any more; or it is `strict` and the frame is damaged.

        Warns:
            UserWarning: the frame is the first one that is found to be damaged.
        """
        if not 0 <= t < len(self):
            raise IndexError(f"frame {t} of {self.name}, which has frames 0 to {len(self) - 1}")
        frame = next(filter(lambda read: read is not None, map(self._whole, self._neighbours(int(t)))), None)
        if frame is None:
            raise VideoError(f"No frame of {self.name} can be read: it is damaged, or its disk is. Copy it again.")
        frame = frame.view()
        frame.flags.writeable = False
        return frame

    @property
    def damaged(self) -> list[int]:
        """The frames that are known to be damaged: others may turn out to be when they are read."""
        return sorted(self._damaged)

    def _neighbours(self, t: int) -> chain[int]:
        """Return the frames that may stand for frame `t`, the best first."""
        return chain(range(t, -1, -1), range(t + 1, len(self)))

    def _whole(self, t: int) -> NDArray[np.generic] | None:
        """Return a frame, None if it is damaged."""
        if t in self._damaged:
            return None
        try:
            return self._read(t)
        except DamagedFrameError as error:
            if self.strict:
                raise
            if not self._damaged:
                warnings.warn(
                    f"{error} It is shown as a repeat of the frame before it, and so is every other one that is "
                    "found to be damaged.",
                    stacklevel=3,
                )
            self._damaged.add(t)
            return None

    def rgb(self, t: int) -> NDArray[np.float32]:
        """Return frame `t` as networks and people see it: (H, W, 3) float32 in 0..1."""
        return self.scale.to_rgb(self.read(t))

    @property
    def scale(self) -> IntensityScale:
        """How stored intensities become 0..1; measured on a few frames when first asked for."""
        with self._scale_lock:
            if self._scale is None:
                self._scale = IntensityScale.from_samples(self._samples())
            return self._scale

    def as_layer_data(self) -> LayerData:
        """Return the video in the form in which a napari image layer shows it lazily."""
        return LayerData(self)

    def _samples(self) -> NDArray[np.generic]:
        """Return evenly spaced frames, thinned out in space, as (N, h, w, C)."""
        n = min(len(self), SCALE_FRAMES)
        if self.dtype == np.uint8 and self.n_channels in (3, 4):
            n = 1  # 8-bit colour has a fixed scale: nothing is measured, one frame says what it is
        step = int(np.ceil(np.sqrt(n * self.shape[1] * self.shape[2] / SCALE_PIXELS)))
        times = np.linspace(0, len(self) - 1, n).round().astype(int)
        return np.stack([self.read(t)[::step, ::step] for t in times.tolist()])


class LayerData:
    """A video as an array that reads only the frames that are looked at, for a napari image layer.

    Attributes:
        video: that is shown.
        shape: (T, H, W) for grey, else (T, H, W, 3 or 4).
        dtype: the stored one; float32 RGB in 0..1 for channels that are not grey, RGB or RGBA.
        ndim: 3 or 4.
    """

    def __init__(self, video: Video) -> None:
        self.video = video
        first = self._frame(0)
        self.shape: tuple[int, ...] = (len(video), *first.shape)
        self.dtype = first.dtype
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __deepcopy__(self, memo: Any) -> LayerData:
        return self  # napari's "Duplicate layer": nothing can be written here

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Read the whole video, for `np.asarray` and for saving the layer."""
        if copy is False:
            raise ValueError("The frames of a video are read when they are needed: an array of them is always a copy.")
        frames = np.empty(self.shape, dtype or self.dtype)
        for t in range(len(self)):
            frames[t] = self._frame(t)
        return frames

    def __getitem__(self, key: Any) -> NDArray[np.generic]:
        """Index like a numpy array, reading only the frames that are needed."""
        return take(self._frame, self.shape, self.dtype, key)

    def _frame(self, t: int) -> NDArray[np.generic]:
        frame = self.video.read(t)
        if frame.shape[-1] == 1:
            return frame[..., 0]
        return frame if frame.shape[-1] in (3, 4) else self.video.rgb(t)


def open_video(
    source: Any,
    *,
    channel_axis: int | None = None,
    position: int | None = None,
    channel: int | None = None,
    plane: int | None = None,
    strict: bool = False,
) -> Video:
    """Open a video without loading it.

    Args:
        source: path of a video file (mp4, avi, mov, mkv, webm, ts, mpg, gif, ...: all that FFmpeg reads), of a folder
            of images (in order of their names, frame2 before frame10), of a multi-page TIFF, of a Zarr array or an
            image of OME-Zarr; or any array with `shape`, `dtype` and indexing (numpy, Zarr, dask, ...). Arrays are
            (T, Y, X) for grey, (T, Y, X, 3) or (T, Y, X, 4) for colour, or have four axes of which `channel_axis`
            names one; further axes in front may be 1 long.
        channel_axis: the axis of an array, Zarr or TIFF that holds channels; the other three are T, Y, X.
        position: which position, of a file that holds several, counted from 0.
        channel: which channel, of a file that says which axis they lie on; None: all of them, as colours.
        plane: which plane in depth, of a file that holds several of every frame.
        strict: raise an error where a frame is damaged; otherwise it is shown as a repeat of its neighbour.

    Raises:
        VideoError: the source does not exist, is empty or damaged, its kind or shape is not understood, or something
            has to be chosen.
    """
    if isinstance(source, LayerData):
        return source.video
    selection = Selection(channel_axis, position, channel, plane)
    if not isinstance(source, str | Path):
        return Video("array", ArrayFrames(source, selection), selection=selection, strict=strict)
    path = Path(source)
    try:
        path = path.expanduser()
        return Video(path.name, _open_path(path, selection), path, selection, strict)
    except (OSError, ValueError, RuntimeError) as error:  # a name or a home that cannot be, a folder that is closed
        raise VideoError(f"{path} cannot be opened: {error}. Check the name, and who may read it.") from error


def _open_path(path: Path, selection: Selection) -> Frames:
    if not path.exists():
        raise VideoError(f"There is no file or folder {path}. Check the spelling and the disk.")
    suffix = path.suffix.lower()
    if path.exists() and not path.is_file() and not path.is_dir():
        raise VideoError(
            f"{path.name} is neither a file nor a folder, but a pipe or a device. Save the video as a file."
        )
    if is_zarr(path):
        return open_zarr(path, selection)
    if suffix in TIFF_LIKE and path.is_file():
        return TiffFrames(path, selection)
    if suffix in FOREIGN:
        program, plugin = FOREIGN[suffix]
        raise VideoError(
            f"{path.name} is a file of {program}, which napari-pml does not read. Save it there as OME-TIFF, or "
            f"convert it with Fiji or bioformats2raw; or install napari-bioio-reader and {plugin}, open it with "
            "these in napari, and choose its layer in the panel."
        )
    if selection != Selection():
        raise VideoError(
            f"There is nothing to choose in {path.name}: positions, channels and planes are those of TIFF and Zarr. "
            "Open it without."
        )
    if path.is_dir():
        return ImageFolder(path)
    if suffix == ".webp":
        return AnimationFrames(path)
    if suffix in IMAGE_SUFFIXES and not _is_animated(path):
        raise VideoError(f"{path.name} is a single image. Choose the folder that holds all frames.")
    return VideoFile(path)


def _is_animated(path: Path) -> bool:
    """Whether a PNG has several frames."""
    with path.open("rb") as stream:
        return b"acTL" in stream.read(4096)
