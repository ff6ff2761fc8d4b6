"""Which packet of a video file becomes which frame, and when it is shown: found once, by reading the file through.

A file stores packets. Each becomes one frame in most files, but not in the order in which they are stored, and some
become none. A decoder hands on the number of the packet that a frame came from, so a frame's identity is that number
and never its time stamp: times may be missing, doubled, wrong, or begin anew where two recordings were joined.

Where a container keeps trustworthy times, their order is the order of the frames, and nothing is decoded but the first
few frames, to be sure of it. Everywhere else, and only there, all frames are decoded once to see in which order they
come. What took long is kept on disk.
"""

from __future__ import annotations

import hashlib
import os
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TypeAlias
from uuid import uuid4

import av
import numpy as np
from av.container import InputContainer
from av.format import Flags
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from napari_pml.download import cache_folder
from napari_pml.errors import VideoError
from napari_pml.types import UNREADABLE
from napari_pml.video.identity import identity

VideoPacket: TypeAlias = "Packet[VideoStream]"

DEFAULT_FPS = 10.0
"""Frames per second where a source does not say."""

CHECKED_FRAMES = 16
"""Number of frames that are decoded to see whether they come in the order of their times."""

NONE = np.iinfo(np.int64).min
"""A time stamp or place that the file does not tell."""

PACKET = np.dtype([("pts", "i8"), ("dts", "i8"), ("pos", "i8"), ("size", "i8"), ("is_key", "?"), ("is_shown", "?")])
"""What is remembered of a packet; whether it can be decoded without others, whether it becomes a frame."""

KEPT_SECONDS = 1.0
"""An index that took longer than this to build is kept on disk."""

KEPT_INDEXES = 200
"""Number that is kept, the newest ones."""

INDEX_VERSION = 1
"""Raised whenever files are indexed in another way."""


@dataclass(frozen=True)
class FrameIndex:
    """Where the frames of a file come from.

    Attributes:
        packets: (P,) of `PACKET`, all packets in the order of the file.
        source: (T,) number of the packet that becomes frame t.
        times: (T,) when it is shown, in seconds since the first.
        fps: frames per second, on average.
    """

    packets: NDArray[np.void]
    source: NDArray[np.int64]
    times: NDArray[np.float64]
    fps: float


def picture_stream(container: InputContainer) -> VideoStream:
    """Return the stream that holds the video, rather than a cover picture."""
    best = container.streams.best("video")
    assert isinstance(best, VideoStream)
    return best


def packets_of(container: InputContainer) -> Iterator[VideoPacket]:
    """Return the packets that follow, then one that is empty, upon which a decoder gives the frames it still holds.

    A file that cannot be read any further ends there.
    """
    last = None
    try:
        for packet in container.demux(picture_stream(container)):
            if packet.size:
                yield packet
            elif packet.dts is None:
                last = packet
    except av.error.FFmpegError:
        pass
    if last is not None:
        yield last


def decoded(packets: Iterator[VideoPacket], number: int) -> Iterator[tuple[int, VideoFrame] | None]:
    """Decode packets of which the first has this number; yield frames, each with the number of its packet.

    None stands for a packet that the decoder refused.
    """
    for packet in packets:
        if packet.size:
            packet.pts = packet.dts = number
            number += 1
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            yield None
            continue
        for frame in frames:
            yield frame.pts or 0, frame


def marks(packets: NDArray[np.void]) -> NDArray[np.uint64]:
    """Return a number for each packet, which tells it from others of the same file: times, place and size, mixed."""
    mixed = np.zeros(len(packets), np.uint64)
    for name in ("pts", "dts", "pos", "size"):
        mixed = (mixed ^ packets[name].astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    return mixed


def remembered(packet: VideoPacket, *, is_shown: bool = True) -> tuple[int, int, int, int, bool, bool]:
    """Return what is remembered of a packet, in the order of `PACKET`."""
    pts, dts, pos = (NONE if n is None else n for n in (packet.pts, packet.dts, packet.pos))
    return pts, dts, pos, packet.size, packet.is_keyframe, is_shown


def frame_index(path: Path, opened: Callable[[], InputContainer]) -> FrameIndex:
    """Return the index of a file, from the disk if it has been built before.

    Args:
        path: of the file.
        opened: opens it, each time from its beginning.

    Raises:
        VideoError: it holds no frames.

    Warns:
        UserWarning: it ends early, or holds several recordings, one after the other.
    """
    place = _place(path)
    index = _load(place)
    if index is None:
        begun = time.monotonic()
        index = _built(path, opened)
        if time.monotonic() - begun > KEPT_SECONDS:
            _keep(index, place)
    return index


def _built(path: Path, opened: Callable[[], InputContainer]) -> FrameIndex:
    container = opened()
    try:
        stream = picture_stream(container)
        codec, kind = stream.codec_context.codec, Flags(container.format.flags)
        found = [remembered(packet, is_shown=_becomes_a_frame(packet, codec.name)) for packet in packets_of(container)]
        packets = np.array([entry for entry in found if entry[3]], PACKET)
        promised, rate, unit = stream.frames, stream.average_rate, float(stream.time_base or 1)
        reorders = codec.reorder and stream.codec_context.has_b_frames
        format_name = container.format.name
    finally:
        container.close()
    shown = np.flatnonzero(packets["is_shown"])
    if not len(shown):
        raise VideoError(f"{path.name} holds no frames. Is the recording or the copy complete?")
    if _is_cut_off(path) if format_name == "avi" else len(packets) < promised:
        warnings.warn(
            f"{path.name} ends early: it should have {promised} frames, {len(packets)} are there.", stacklevel=6
        )
    # AVI has no time stamps, and FFmpeg guesses wrong ones for reordered H.264; raw streams have none at all.
    is_timed = format_name != "avi" and Flags.no_timestamps not in kind and (packets["pts"][shown] != NONE).all()
    recordings = _recordings(packets) if is_timed and Flags.ts_discont in kind else np.zeros(len(packets), int)
    n_recordings = recordings[-1] + 1
    if n_recordings > 1:
        warnings.warn(
            f"{path.name} holds {n_recordings} recordings, one after the other: its times begin anew within it. They "
            "are shown as one video, the times of each go on where those before it end.",
            stacklevel=6,
        )
    pts = packets["pts"][shown]
    source = given = None
    if not reorders:
        source = shown[_begins(shown, packets, opened) :]
    elif is_timed and n_recordings == 1 and len(np.unique(pts)) == len(pts):
        source = shown[np.argsort(pts)]
        source = source[_begins(source, packets, opened) :]
        if not _comes_as_expected(source, opened):
            source = None
    if source is None:
        source, given = _decoding_order(opened)
    if not len(source):
        raise VideoError(f"{path.name} holds no frames that can be decoded. Copy it again.")
    fps = float(rate) if rate else 0.0
    if is_timed:
        times = _joined(packets["pts"][source] * unit, recordings[source])
    elif format_name == "avi":
        times = _slots(packets["dts"], source if given is None else given) * unit
    else:
        times = np.arange(len(source)) / (fps or DEFAULT_FPS)
    times -= times[0]
    if not fps:
        fps = (len(times) - 1) / times[-1] if times[-1] > 0 else DEFAULT_FPS
    return FrameIndex(packets, source.astype(np.int64), times, fps)


def _becomes_a_frame(packet: VideoPacket, codec: str) -> bool:
    """Whether a packet is shown: edit lists leave some out, and VP8 has frames that are only referred to."""
    hidden = codec in ("vp8", "libvpx") and packet.size and not memoryview(packet)[0] & 0x10  # RFC 6386, section 9.1
    return not (packet.is_discard or hidden)


def _is_cut_off(path: Path) -> bool:
    """Whether an AVI is shorter than it says at its beginning."""
    with path.open("rb") as stream:
        claimed = int.from_bytes(stream.read(8)[4:], "little")
    return claimed + 8 > path.stat().st_size


def _recordings(packets: NDArray[np.void]) -> NDArray[np.int64]:
    """Return for each packet which recording it belongs to: within one, decoding times never go back."""
    stamps = np.where(packets["dts"] != NONE, packets["dts"], packets["pts"])
    return np.concatenate([[0], np.cumsum(np.diff(stamps) < 0)]).astype(np.int64)


def _begins(expected: NDArray[np.int64], packets: NDArray[np.void], opened: Callable[[], InputContainer]) -> int:
    """Return which of the expected frames is the first that there is.

    A broadcast that was tuned into begins with frames that refer to others that are not there. A key frame refers to
    none: it is there, though it may be damaged.
    """
    decoded_first = next(_sources(opened), None)
    found = (expected == decoded_first) | packets["is_key"][expected]
    return int(found.argmax())


def _comes_as_expected(expected: NDArray[np.int64], opened: Callable[[], InputContainer]) -> bool:
    """Whether the first frames that the decoder gives are the expected ones."""
    return bool(list(islice(_sources(opened), CHECKED_FRAMES)) == expected[:CHECKED_FRAMES].tolist())


def _decoding_order(opened: Callable[[], InputContainer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the packets that become frames, in the order in which the decoder gives them, and upon which packets.

    A packet that it refuses is a damaged frame, which has its place too, unless no frame came before.
    """
    container = opened()
    try:
        picture_stream(container).thread_type = "SLICE"  # it refuses a packet when it gets it, not later
        order: list[int] = []
        given: list[int] = []
        at = 0

        def counted() -> Iterator[VideoPacket]:
            nonlocal at
            for n, packet in enumerate(packets_of(container)):
                at = n
                yield packet

        for found in decoded(counted(), 0):
            if found is not None or order:
                order.append(at if found is None else found[0])
                given.append(at)
        return np.array(order, np.int64), np.array(given, np.int64)
    finally:
        container.close()


def _sources(opened: Callable[[], InputContainer]) -> Iterator[int]:
    """Return the numbers of the packets that the first frames come from."""
    container = opened()
    try:
        picture_stream(container).thread_type = "AUTO"
        yield from (found[0] for found in decoded(packets_of(container), 0) if found is not None)
    finally:
        container.close()


def _joined(times: NDArray[np.float64], recordings: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return times that never go back; each recording goes on where the one before it ends."""
    steps = np.diff(times)
    step = float(np.median(steps[steps > 0])) if (steps > 0).any() else 1 / DEFAULT_FPS
    end = 0.0
    joined = np.empty_like(times)
    for recording in np.unique(recordings):
        own = np.sort(times[recordings == recording])  # times may be rounded, frames come in the order they are shown
        joined[recordings == recording] = own - own[0] + end
        end += own[-1] - own[0] + step
    return joined


def _slots(dts: NDArray[np.int64], given: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return in which slot of an AVI each frame is shown: that of the packet upon which the decoder gives it.

    The decoder gives the last ones when there is no packet left.
    """
    after = np.cumsum(given >= len(dts)).astype(np.float64)
    return after + dts[np.minimum(given, len(dts) - 1)]


def _place(path: Path) -> Path | None:
    """Return where the index of a file is kept, None if nothing is."""
    try:
        if float(os.environ.get("NAPARI_PML_CACHE_GB", "").strip() or 1) == 0:
            return None
        key = hashlib.sha256(f"{INDEX_VERSION} {av.__version__} {identity(path)}".encode()).hexdigest()[:24]
    except (OSError, ValueError):
        return None
    return cache_folder() / "frame-indexes" / f"{key}.npz"


def _load(place: Path | None) -> FrameIndex | None:
    if place is None or not place.exists():
        return None
    try:
        with place.open("rb") as stream, np.load(stream, allow_pickle=False) as kept:
            return FrameIndex(kept["packets"], kept["source"], kept["times"], float(kept["fps"]))
    except (*UNREADABLE, zipfile.BadZipFile):
        return None  # it is built again


def _keep(index: FrameIndex, place: Path | None) -> None:
    """Write an index in one piece; a disk that is full or cannot be written to only costs time."""
    if place is None:
        return
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        being_written = place.with_name(f"{uuid4().hex}.tmp")
        with being_written.open("wb") as stream:
            np.savez(stream, **asdict(index))
        being_written.replace(place)
        kept = sorted(place.parent.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in kept[KEPT_INDEXES:]:
            old.unlink(missing_ok=True)
    except OSError:
        pass
