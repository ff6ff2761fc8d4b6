"""A place in a video file, from which frames are decoded, and jumps to others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, islice

import av
import numpy as np
from av.container import InputContainer
from av.format import Flags
from av.video.reformatter import VideoReformatter

from napari_pml.video.frame_index import (
    NONE,
    PACKET,
    FrameIndex,
    VideoPacket,
    decoded,
    marks,
    packets_of,
    picture_stream,
    remembered,
)

STRANGERS = 200
"""Number of packets without a name after which a jump counts as failed."""


class Packets:
    """What is known of the packets of a file, to find frames among them.

    Attributes:
        known: the packets, of `PACKET`.
        source: number of the packet that becomes frame t.
    """

    def __init__(self, index: FrameIndex) -> None:
        """Look the packets of an index over."""
        self.known, self.source = index.packets, index.source
        self._frame_of = np.full(len(index.packets), -1)
        self._frame_of[index.source[::-1]] = np.arange(len(index.source))[::-1]  # the first of several
        found, first, count = np.unique(marks(index.packets), return_index=True, return_counts=True)
        self._marks, self._numbers = found[count == 1], first[count == 1]

    def frame_of(self, packet: int, expected: int | None) -> int | None:
        """Return which frame a packet becomes, None if none; a packet of two becomes the expected one."""
        if expected is not None and expected < len(self.source) and self.source[expected] == packet:
            return expected
        frame = int(self._frame_of[packet]) if packet < len(self._frame_of) else -1
        return frame if frame >= 0 else None

    def number_of(self, packet: VideoPacket) -> int | None:
        """Return the number of a packet that is like no other, else None."""
        mark = marks(np.array([remembered(packet)], PACKET))[0]
        at = int(np.searchsorted(self._marks, mark))
        return int(self._numbers[at]) if at < len(self._marks) and self._marks[at] == mark else None


class Decoder:
    """A place in the file, used by one thread.

    Attributes:
        frames: the decoded frames that follow, as `decoded` yields them, in the order they are shown.
        waits: whether, after a jump, it gives no frame before all that it refers to is there.
        next: number of the frame that will come next, None if unknown.
    """

    def __init__(self, opened: Callable[[], InputContainer], packets: Packets) -> None:
        """Open the file, and stand at its first frame."""
        self._opened, self._packets = opened, packets
        self.reformatter = VideoReformatter()
        self._container: InputContainer | None = None
        self._begin()

    def _begin(self) -> None:
        if self._container is not None:
            self._container.close()
        self._container = self._opened()
        self._stream = picture_stream(self._container)
        self._stream.thread_type = "AUTO"
        self.waits = self._stream.codec_context.name == "h264"
        self.frames = decoded(packets_of(self._container), 0)
        self.next: int | None = 0

    def jump(self, packet: int) -> None:
        """Go on from packet number `packet`, at which nothing that came before is remembered.

        Containers jump to about where they are asked to, and some behind it. So the packets that come are recognised,
        those before the wanted one are passed over, and a container that lands behind it is asked for an earlier place,
        at last for its beginning, which every one has.
        """
        if packet == 0:
            return self._begin()
        for place in self._places(packet):
            coming = self._packets_from(packet, *place)
            if coming is not None:
                self.frames, self.next = decoded(coming, packet), None
                return None
        self._begin()
        assert self._container is not None
        self.frames, self.next = decoded(islice(packets_of(self._container), packet, None), packet), None
        return None

    def _places(self, packet: int) -> Iterator[tuple[int, bool]]:
        """Return where to jump in order to meet a packet, and whether that is a place in the file or a time."""
        assert self._container is not None
        known, kind = self._packets.known, Flags(self._container.format.flags)
        earlier = [max(0, packet - back) for back in (0, 50, 200, 1000)]
        if Flags.ts_discont in kind or Flags.no_timestamps in kind:
            for n in earlier:
                placed = np.flatnonzero(known["pos"][: n + 1] >= 0)
                if len(placed):
                    yield int(known["pos"][placed[-1]]), True
        for n in earlier:
            for stamp in dict.fromkeys((int(known["pts"][n]), int(known["dts"][n]))):
                if stamp != NONE:
                    yield stamp, False

    def _packets_from(self, packet: int, place: int, is_byte: bool) -> Iterator[VideoPacket] | None:
        """Jump, and return the packets from number `packet` on; None if it is not met."""
        assert self._container is not None
        try:
            self._container.seek(place, stream=self._stream, unsupported_byte_offset=is_byte)
        except (av.error.FFmpegError, OverflowError):
            return None
        coming = packets_of(self._container)
        for first in islice(coming, STRANGERS):
            number = self._packets.number_of(first) if first.size else None
            if number is not None and number <= packet:
                return islice(chain([first], coming), packet - number, None)
            if number is not None:
                return None
        return None
