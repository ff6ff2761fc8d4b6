import struct
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import av
import numpy as np
import pytest

from napari_pml.errors import VideoError
from napari_pml.video import compressed as video_file
from napari_pml.video import decoder as video_decoder
from napari_pml.video.video import open_video
from recorded import number_of, numbered_frame

N_FRAMES = 40
X264 = {"g": "12", "bf": "3"}

FILES = [  # name, codec, pixels, options: what the wheels of PyAV can write
    ("reordered.mp4", "libx264", "yuv420p", X264),
    ("open-groups.mp4", "libx264", "yuv420p", {**X264, "x264-params": "open-gop=1"}),
    ("reordered.mkv", "libx264", "yuv420p", X264),
    ("reordered.avi", "libx264", "yuv420p", X264),
    ("reordered-mpeg4.avi", "mpeg4", "yuv420p", {"g": "12", "bf": "2"}),
    ("motion-jpeg.avi", "mjpeg", "yuvj420p", {}),
    ("grey.avi", "ffv1", "gray", {"g": "12"}),
    ("grey-16.mkv", "ffv1", "gray16le", {"g": "12"}),
    ("mpeg4.mov", "mpeg4", "yuv420p", {"g": "12", "bf": "2"}),
    ("vp9.webm", "libvpx-vp9", "yuv420p", {"g": "12", "auto-alt-ref": "1", "deadline": "realtime"}),
    ("animation.gif", "gif", "rgb8", {}),
]
FILES = [file for file in FILES if file[1] in av.codecs_available]


def write_video(path, codec="mpeg4", pixels="yuv420p", options=None, *, times=range(N_FRAMES), muxer=None):
    with av.open(str(path), "w", options=muxer or {}) as container:
        stream = container.add_stream(codec, rate=10, options=options or {})
        stream.width, stream.height, stream.pix_fmt = 64, 32, pixels
        stream.codec_context.time_base = Fraction(1, 10)
        for t, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(numbered_frame(t, 32, 64), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("file", FILES, ids=lambda file: file[0])
def test_every_frame_of_a_file_is_found_in_any_order(file, tmp_path, monkeypatch):
    monkeypatch.setattr(video_file, "CACHE_BYTES", 0)
    name, codec, pixels, options = file
    video = open_video(write_video(tmp_path / name, codec, pixels, options))
    assert video.shape == (N_FRAMES, 32, 64)
    assert video.fps == pytest.approx(10, abs=0.3)
    assert video.times == pytest.approx(np.arange(N_FRAMES) / 10, abs=0.011)
    assert video.name == name
    some_order = np.random.default_rng(0).permutation(N_FRAMES).tolist()
    for t in [*range(N_FRAMES), *some_order, *reversed(range(N_FRAMES))]:
        assert number_of(video.read(t)) == t


def test_frames_of_uneven_duration_are_counted_not_timed(tmp_path):
    times = [0, 1, 2, 10, 11, 30, 31, 32, 33, 100]
    video = open_video(write_video(tmp_path / "uneven.mp4", times=times))
    assert [number_of(video.read(t)) for t in (9, 0, 5, 3)] == [9, 0, 5, 3]
    assert len(video) == 10
    assert video.times == pytest.approx(np.divide(times, 10))


def test_grey_keeps_its_depth(tmp_path):
    video = open_video(write_video(tmp_path / "grey.mkv", "ffv1", "gray16le"))
    assert video.dtype == np.uint16
    assert video.read(0).shape == (32, 64, 1)


def test_reading_in_order_never_jumps(tmp_path, monkeypatch):
    video = open_video(write_video(tmp_path / "groups.mp4", options={"g": "5"}))

    def refuse(self, packet):
        raise AssertionError("jumped")

    monkeypatch.setattr(video_decoder.Decoder, "jump", refuse)
    assert [number_of(video.read(t)) for t in range(N_FRAMES)] == list(range(N_FRAMES))


def test_threads_read_the_same_frames(tmp_path):
    video = open_video(write_video(tmp_path / "threads.mp4", options={"g": "12", "bf": "2"}))
    wanted = np.random.default_rng(1).integers(0, N_FRAMES, 200).tolist()
    with ThreadPoolExecutor(4) as pool:
        assert [number_of(frame) for frame in pool.map(video.read, wanted)] == wanted


def test_a_phone_video_stands_upright(tmp_path):
    path = write_video(tmp_path / "phone.mp4")
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40  # ISO/IEC 14496-12, section 8.3.2: display a quarter turn clockwise
    content[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    video = open_video(path)
    assert video.shape == (N_FRAMES, 64, 32)
    frame = video.read(1)  # bright in its leftmost bar, which is now on top
    assert frame[:8].mean() > 150
    assert frame[8:].mean() < 80


def test_a_cut_off_file_says_so_and_shows_what_there_is(tmp_path):
    path = write_video(tmp_path / "cut.mp4", options={"g": "1"}, muxer={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.warns(UserWarning, match=r"cut\.mp4 ends early: it should have 40 frames"):
        video = open_video(path)
    assert 10 < len(video) < N_FRAMES
    assert [number_of(video.read(t)) for t in range(10)] == list(range(10))


def test_a_damaged_frame_is_a_repeat_of_the_one_before_it(tmp_path):
    path = write_video(tmp_path / "damaged.mov", "png", "rgb24")
    with av.open(str(path)) as container:
        packets = list(container.demux(video=0))
    content = bytearray(path.read_bytes())
    for t in (0, 7, 8):
        content[packets[t].pos : packets[t].pos + packets[t].size] = bytes(packets[t].size)
    path.write_bytes(content)
    expected = [1, *range(1, 7), 6, 6, *range(9, N_FRAMES)]
    for order in (range(N_FRAMES), reversed(range(N_FRAMES))):
        video = open_video(path)
        with pytest.warns(UserWarning, match=r"Frame \d of damaged\.mov cannot be decoded.*repeat") as told:
            shown = {t: number_of(video.read(t)) for t in order}
        assert shown == dict(enumerate(expected))
        assert len(told) == 1
        assert video.damaged == [0, 7, 8]
    strict = open_video(path, strict=True)
    assert number_of(strict.read(9)) == 9
    with pytest.raises(VideoError, match=r"Frame 7 of damaged\.mov cannot be decoded"):
        strict.read(7)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("noise.mp4", b"not a video" * 100, "cannot be opened as a video"),
        ("empty.mp4", b"", "cannot be opened as a video"),
        ("notes.txt", b"buy milk", "cannot be opened as a video"),
    ],
)
def test_a_file_that_is_no_video_is_named(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(VideoError, match=message):
        open_video(tmp_path / name)


def test_a_file_without_its_index_or_without_pictures(tmp_path):
    path = write_video(tmp_path / "unfinished.mp4")
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"moov")])
    with pytest.raises(VideoError, match=r"unfinished\.mp4"):
        open_video(path)
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(VideoError, match="holds no pictures"):
        open_video(tmp_path / "sound.wav")
