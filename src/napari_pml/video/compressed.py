"""Exact random access to the frames of a compressed video file.

A compressed video can only be decoded forward from a key frame. Reading jumps to the last key frame at or before the
one that is wanted and decodes forward; reading in order never jumps. Which frame is which is what `frame_index` found
out: the number of the packet that a frame comes from, whatever times and frame rate the file claims.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from itertools import chain, islice
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from napari_pml.disk.untrusted import MAX_PIXELS, check_is_file, check_pixels
from napari_pml.errors import DamagedFrameError, VideoError
from napari_pml.recent import Recent
from napari_pml.video.decoder import Decoder, Packets
from napari_pml.video.frame_index import frame_index
from napari_pml.video.frames import Frames

CACHE_BYTES = 64 * 2**20
"""Decoded frames kept per file, about 45 at 1280 x 720: going backward is slow without them."""

CONTAINERS = (
    *("mov", "matroska", "avi", "gif", "apng", "mpegts", "mpeg", "mpegvideo", "asf", "flv", "ogg", "mxf", "nut", "dv"),
    *("ivf", "m4v", "h264", "hevc", "mjpeg", "yuv4mpegpipe", "rm", "wtv", "wav"),
)
"""Kinds of files in FFmpeg's words. It goes by their content, and others, such as playlists, open further files."""

ALONE = {"protocol_whitelist": "file", "format_whitelist": ",".join(CONTAINERS)}
"""What keeps FFmpeg to the one file that it is given."""


class VideoFile(Frames):
    """The frames of a file that FFmpeg reads, such as mp4, avi, mov, mkv, webm, ts, mpg or gif.

    Every thread that reads has a decoder of its own, so that the viewer's jumps do not disturb a worker that
    reads in order. They share the decoded frames.

    Attributes:
        shape: (T, H, W, C), turned upright if the file asks for it; C is 1 for grey, else 3.
        dtype: uint8, or uint16 where grey is stored with more than 8 bits.
        fps: frames per second, on average.
        times: when each frame is shown, in seconds since the first.
        key_frames: frames that can be decoded without others, in order; 0 is always among them.
        sizes: of every frame as it is stored, in bytes.
    """

    def __init__(self, path: Path) -> None:
        """Index the file.

        Args:
            path: of an existing file.

        Raises:
            VideoError: it is not a video, holds no frames, or none of the first ones can be decoded.
        """
        self._path = path
        self._local = threading.local()
        self._cache: Recent[int, VideoFrame] = Recent(CACHE_BYTES, _n_bytes)
        index = frame_index(path, lambda: _open(path))
        self._packets = Packets(index)
        self.fps = index.fps
        self.times: list[float] = index.times.tolist()
        self.sizes: list[int] = index.packets["size"][index.source].tolist()
        keys = np.flatnonzero(index.packets["is_key"][index.source]).tolist()
        self.key_frames: list[int] = sorted({0, *keys})
        first = next((found[1] for found in islice(self._decoder().frames, 100) if found is not None), None)
        if first is None:
            raise VideoError(f"{path.name} holds no frames that can be decoded. Copy it again.")
        del self._local.decoder
        self._size = (first.width, first.height)
        self._upright = _Upright(first)
        self._format = _array_format(first)
        array = self._as_array(first)
        self.shape: tuple[int, int, int, int] = (len(self.times), *array.shape)
        self.dtype = array.dtype

    def read(self, t: int) -> NDArray[np.generic]:
        """Return frame `t`, 0..T-1, as (H, W, C); DamagedFrameError if it cannot be decoded."""
        return self._as_array(self._cache.get(t) or self._decode(t))

    def _as_array(self, frame: VideoFrame) -> NDArray[np.generic]:
        width, height = self._size
        array = self._decoder().reformatter.reformat(frame, width, height, self._format).to_ndarray()
        return np.ascontiguousarray(self._upright(array.reshape(height, width, -1)))

    def _decoder(self) -> Decoder:
        """Return the decoder of the calling thread; a new one stands at the first frame."""
        if not hasattr(self._local, "decoder"):
            self._local.decoder = Decoder(lambda: _open(self._path), self._packets)
        decoder: Decoder = self._local.decoder
        return decoder

    def _decode(self, t: int) -> VideoFrame:
        """Decode forward to frame `t`, keeping the frames on the way."""
        decoder = self._decoder()
        keys = self.key_frames[: bisect_right(self.key_frames, t)]
        if decoder.next is not None and keys[-1] <= decoder.next <= t:
            frame = self._decode_forward(decoder, t)
            if frame is not None:
                return frame
        passed_over = 0
        for back in chain([0], (2**n for n in range(len(keys).bit_length())), [len(keys) - 1]):
            key = keys[max(0, len(keys) - 1 - back)]
            decoder.jump(self._packets.source[key] if key else 0)
            frame = self._decode_forward(decoder, t, key)
            if frame is not None:
                return frame
            passed_over += decoder.next is not None
            if passed_over == 2 or key == 0:  # from two key frames on it has been passed over
                break
        raise DamagedFrameError(f"Frame {t} of {self._path.name} cannot be decoded: the file is damaged there.")

    def _decode_forward(self, decoder: Decoder, t: int, key: int | None = None) -> VideoFrame | None:
        """Decode until frame `t`, or return None; after a jump, only frames from number `key` on count.

        Afterwards the decoder does not know where it is (`next` is None) if `key` did not come first.
        """
        for packet, frame in filter(None, decoder.frames):
            number = self._packets.frame_of(packet, decoder.next)
            if number is None or (key is not None and number < key):
                continue  # shown before the key frame, but refers to frames that were jumped over
            if key and number > (t if decoder.waits else key):
                break
            key, decoder.next = None, number + 1
            if not frame.is_corrupt:
                self._cache.put(number, frame)
            if number >= t:
                return frame if number == t and not frame.is_corrupt else None
        else:
            if key is None:
                return None
        decoder.next = None
        return None


def _n_bytes(frame: VideoFrame) -> int:
    return sum(plane.buffer_size for plane in frame.planes)


def _open(path: Path) -> InputContainer:
    """Open a file that has a picture track; whatever its name or content say, nothing else is opened with it."""
    try:
        check_is_file(path)
        container = av.open(f"file:{path.absolute()}", options=ALONE)  # or a colon in its name would be a protocol
    except av.error.FFmpegError as error:
        raise VideoError(
            f"{path.name} cannot be opened as a video: {error.strerror}. It is damaged, incomplete or of "
            "another kind. Convert it to mp4, which every program can write."
        ) from error
    except ValueError as error:
        raise VideoError(f"{path} cannot be opened as a video: {error}. Choose the file of a video.") from error
    if not container.streams.video or container.streams.video[0].codec_context is None:
        container.close()
        raise VideoError(
            f"{path.name} holds no pictures that can be decoded: its recording or copying was interrupted, or it is "
            "sound only."
        )
    context = container.streams.video[0].codec_context
    try:
        check_pixels(context.height, context.width)
    except ValueError as error:
        container.close()
        raise VideoError(f"{path.name} cannot be opened as a video: {error}. Cut or shrink its frames.") from error
    context.options = {"max_pixels": str(MAX_PIXELS)}  # frames may still be larger than the header says
    return container


def _array_format(frame: VideoFrame) -> str:
    """Return FFmpeg's name for the array that keeps most of a frame: 8 or 16 bit grey, or 8 bit colour."""
    stored = frame.format
    if len(stored.components) > 1 or stored.has_palette:
        return "rgb24"
    return "gray16le" if stored.components[0].bits > 8 else "gray"


class _Upright:
    """Turns and mirrors the frames of a file as its display matrix asks."""

    def __init__(self, frame: VideoFrame) -> None:
        data: Any = frame.side_data.get("DISPLAYMATRIX")
        a, b, _, c, d = np.frombuffer(bytes(data), "i4")[:5] if data is not None else (1, 0, 0, 0, 1)
        # ISO/IEC 14496-12, section 8.3.2: a pixel at (x, y) is shown at (a x + c y, b x + d y)
        self._transposed = abs(b) > abs(a)
        self._flipped_x, self._flipped_y = (c < 0, b < 0) if self._transposed else (a < 0, d < 0)

    def __call__(self, array: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return (H, W, C) as it is shown."""
        if self._transposed:
            array = array.swapaxes(0, 1)
        return array[:: -1 if self._flipped_y else 1, :: -1 if self._flipped_x else 1]
