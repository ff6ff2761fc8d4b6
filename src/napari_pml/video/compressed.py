"""Exact random access to the frames of a compressed video file.

A compressed video can only be decoded forward from a key frame, and stores its frames in another order than
it shows them. So the file is read through once without decoding, to learn the time stamp of every frame;
frame t is the one with the t-th smallest time stamp, whatever frame rate the file claims. Reading jumps to
the last key frame at or before t and decodes forward; reading in order never jumps.
"""

from __future__ import annotations

import threading
import warnings
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from napari_pml.disk.untrusted import MAX_PIXELS, check_is_file, check_pixels
from napari_pml.errors import VideoError

CACHE_BYTES = 64 * 2**20
"""Decoded frames kept per file, about 45 at 1280 x 720: going backward is slow without them."""

CONTAINERS = ("mov", "matroska", "avi", "gif", "apng", "mpegts", "mpeg", "asf", "flv", "ogg", "mxf", "nut", "dv", "wav")
"""Kinds of files in FFmpeg's words. It goes by their content, and others, such as playlists, open further files."""

ALONE = {"protocol_whitelist": "file", "format_whitelist": ",".join(CONTAINERS)}
"""What keeps FFmpeg to the one file that it is given."""

DEFAULT_FPS = 10.0
"""Frames per second where a source does not say."""


class VideoFile:
    """The frames of an mp4, avi, mov, mkv, webm or gif file.

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
            VideoError: it is not a video, holds no frames, or the first one cannot be decoded.
        """
        self._path = path
        self._local = threading.local()
        self._cache = _FrameCache(CACHE_BYTES)
        self._read_index()
        first = self._decode(0)
        self._size = (first.width, first.height)
        self._turns = round(first.rotation / 90)
        self._format = _array_format(first)
        frame = self.read(0)
        self.shape: tuple[int, int, int, int] = (len(self._times), *frame.shape)
        self.dtype = frame.dtype

    def read(self, t: int) -> NDArray[np.generic]:
        """Return frame `t`, 0..T-1, as (H, W, C); VideoError if it cannot be decoded."""
        width, height = self._size
        try:
            frame = self._cache.get(t) or self._decode(t)
            reformatted = self._decoder().reformatter.reformat(frame, width, height, self._format)
            array = reformatted.to_ndarray().reshape(height, width, -1)
        except av.error.FFmpegError as error:
            raise VideoError(f"Frame {t} of {self._path.name} is damaged: {error.strerror}. Copy it again.") from error
        return np.ascontiguousarray(np.rot90(array, self._turns))

    def _read_index(self) -> None:
        """Set the time stamps and the stored size of every frame, which are key frames, and the frame rate."""
        container = _open(self._path)
        try:
            stream = container.streams.video[0]
            packets = [
                (packet.pts, packet.is_keyframe, packet.size, packet.is_discard)
                for packet in container.demux(stream)
                if packet.pts is not None
            ]
            promised, may_reorder = stream.frames, stream.codec_context.has_b_frames
            self.fps, unit = float(stream.average_rate or DEFAULT_FPS), stream.time_base or Fraction(1)
            in_avi = container.format.name == "avi"
        except av.error.FFmpegError as error:
            raise VideoError(f"{self._path.name} is damaged: {error.strerror}. Copy it again.") from error
        finally:
            container.close()
        shown = [(pts, is_key, size) for pts, is_key, size, is_discard in packets if not is_discard]
        if not shown:
            raise VideoError(f"{self._path.name} holds no frames. Is the recording or the copy complete?")
        if len(packets) < promised:
            warnings.warn(
                f"{self._path.name} ends early: it should have {promised} frames, {len(packets)} are there.",
                stacklevel=5,
            )
        stored = {pts: size for pts, _, size in shown}
        self._times = sorted(stored)
        self.sizes = [stored[pts] for pts in self._times]
        self._number = {pts: t for t, pts in enumerate(self._times)}
        self.key_frames = sorted({0} | {self._number[pts] for pts, is_key, _ in shown if is_key})
        # AVI has no time stamps, and FFmpeg guesses wrong ones for reordered H.264; it decodes in order.
        self._count_frames = in_avi and may_reorder and all(a < b for (a, *_), (b, *_) in pairwise(shown))
        if self._count_frames:
            self.key_frames = [0]
            self.times = [t / self.fps for t in range(len(self._times))]
        else:
            self.times = [float((pts - self._times[0]) * unit) for pts in self._times]

    def _decoder(self, *, afresh: bool = False) -> _Decoder:
        """Return the decoder of the calling thread, or a new one that stands at the first frame."""
        if afresh or not hasattr(self._local, "decoder"):
            self._local.decoder = _Decoder(_open(self._path))
        decoder: _Decoder = self._local.decoder
        return decoder

    def _decode(self, t: int) -> VideoFrame:
        """Decode forward to frame `t`, keeping the frames on the way."""
        decoder = self._decoder()
        keys = self.key_frames[: bisect_right(self.key_frames, t)]
        if decoder.next is not None and keys[-1] <= decoder.next <= t:
            frame = self._decode_forward(decoder, t)
            if frame is not None:
                return frame
        for key in reversed(keys[-2:]):  # two: some containers land behind the key frame they are asked for
            if key == 0:  # some cannot be asked to go back there
                decoder = self._decoder(afresh=True)
            else:
                decoder.seek(self._times[key])
            frame = self._decode_forward(decoder, t, key)
            if frame is not None:
                return frame
        raise VideoError(
            f"Frame {t} of {self._path.name} cannot be decoded: the file is damaged or incomplete there. "
            "Copy it again, or cut the video before this frame."
        )

    def _decode_forward(self, decoder: _Decoder, t: int, key: int | None = None) -> VideoFrame | None:
        """Decode until frame `t`, or return None; after a jump, only frames from number `key` on count."""
        for frame in decoder.frames:
            if self._count_frames:
                number = decoder.next or 0
            elif frame.pts in self._number:
                number = self._number[frame.pts]
            else:
                continue
            if key is not None and number < key:
                continue  # shown before the key frame, but refers to frames that were jumped over
            if key is not None and number > key:
                break
            key = None
            decoder.next = number + 1
            self._cache.put(number, frame)
            if number == t:
                return frame
            if number > t:
                break
        decoder.next = None
        return None


class _Decoder:
    """A place in the file, used by one thread.

    Attributes:
        frames: the decoded frames that follow, in the order they are shown.
        next: number of the frame that will come next, None if unknown.
    """

    def __init__(self, container: InputContainer) -> None:
        self._container = container
        self._stream = container.streams.video[0]
        self._stream.thread_type = "AUTO"
        self.reformatter = VideoReformatter()
        self.frames = self._decoded()
        self.next: int | None = 0

    def seek(self, time_stamp: int) -> None:
        """Go to the last key frame at or before `time_stamp`, in the stream's own units."""
        self._container.seek(time_stamp, stream=self._stream)
        self.frames = self._decoded()
        self.next = None

    def _decoded(self) -> Iterator[VideoFrame]:
        for packet in self._container.demux(self._stream):
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                continue  # one damaged packet; the frames after it may be whole
            yield from frames


class _FrameCache:
    """The most recently decoded frames, as many as fit into a number of bytes; thread-safe."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._used = 0
        self._frames: OrderedDict[int, VideoFrame] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, t: int) -> VideoFrame | None:
        with self._lock:
            if t in self._frames:
                self._frames.move_to_end(t)
            return self._frames.get(t)

    def put(self, t: int, frame: VideoFrame) -> None:
        with self._lock:
            if t not in self._frames:
                self._used += _n_bytes(frame)
            self._frames[t] = frame
            self._frames.move_to_end(t)
            while self._used > self._budget and len(self._frames) > 1:
                self._used -= _n_bytes(self._frames.popitem(last=False)[1])


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
            "another kind. Understood are mp4, avi, mov, mkv, webm and gif; convert other videos to mp4."
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
