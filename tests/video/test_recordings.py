"""Files as cameras and programs write them: every frame is the one that FFmpeg decodes, at the time it says."""

import subprocess
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_pml.video import compressed, decoder, frame_index
from napari_pml.video.video import open_video
from recorded import check_recording, number_of, record, times_of_ffmpeg

X264 = "-c:v libx264 -pix_fmt yuv420p -g 12 -bf 2"
GAP = "-vf select='not(between(n,10,14))' -fps_mode passthrough"

FILES = {
    "h264.mp4": X264,
    "open-groups.mov": f"{X264} -x264-params open-gop=1",
    "hevc.mp4": "-c:v libx265 -x265-params log-level=none:keyint=12 -pix_fmt yuv420p10le -tag:v hvc1",
    "prores.mov": "-c:v prores_ks -pix_fmt yuv422p10le",
    "variable.mp4": f"-vf setpts=N*N/TB/200 -fps_mode vfr -video_track_timescale 90000 {X264}",
    "doubled.mp4": f"-vf setpts=N/25/TB -fps_mode passthrough {X264}",
    "h264.mkv": X264,
    "vp8.webm": "-c:v libvpx -auto-alt-ref 1 -lag-in-frames 16 -b:v 400k -g 12",
    "vp9.webm": "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 400k -g 12",
    "mjpeg.avi": "-c:v mjpeg -q:v 2",
    "xvid.avi": "-c:v libxvid -q:v 2 -bf 2 -g 12",
    "ffv1.avi": "-c:v ffv1",
    "skipped.avi": f"{GAP} -c:v mjpeg -q:v 2",
    "skipped-h264.avi": f"{GAP} {X264}",
    "camera.mts": f"{X264} -f mpegts",
    "camera.m2ts": f"{X264} -f mpegts -mpegts_m2ts_mode 1",
    "open-groups.ts": f"{X264} -bf 3 -x264-params open-gop=1 -f mpegts",
    "refreshed.ts": "-c:v libx264 -pix_fmt yuv420p -g 10 -x264-params intra-refresh=1 -f mpegts",
    "dvd.mpg": "-c:v mpeg2video -g 12 -bf 2 -q:v 2",
    "vcd.mpg": "-c:v mpeg1video -g 12 -bf 2 -q:v 2",
    "raw.h264": X264,
    "raw.m2v": "-c:v mpeg2video -g 12 -bf 2 -q:v 2",
    "windows.wmv": "-c:v wmv2 -q:v 2",
    "flash.flv": "-c:v flv -q:v 2",
    "theora.ogv": "-c:v libtheora -q:v 9",
    "animation.gif": "",
    "animation.apng": "",
}
TIMES_THAT_FFMPEG_LACKS = {"xvid.avi", "skipped-h264.avi", "dvd.mpg", "vcd.mpg", "raw.h264", "raw.m2v"}
"""Some of them: AVI and raw streams keep no times."""


@pytest.fixture(autouse=True)
def nothing_is_kept(monkeypatch):
    monkeypatch.setattr(compressed, "CACHE_BYTES", 0)


@pytest.mark.parametrize("name", FILES)
def test_every_frame_is_what_ffmpeg_decodes(name, tmp_path):
    video = check_recording(record(tmp_path / name, FILES[name]))
    assert len(video) == (35 if "skipped" in name else len(video))
    times = times_of_ffmpeg(tmp_path / name)
    known = ~np.isnan(times)
    assert known.all() or name in TIMES_THAT_FFMPEG_LACKS
    if name not in ("raw.m2v", "xvid.avi"):
        np.testing.assert_allclose(np.asarray(video.times)[known], times[known], atol=0.0011)
    assert video.fps == pytest.approx(25, rel=0.1) or name in ("variable.mp4", "skipped.avi")


def test_a_high_speed_camera(tmp_path):
    """Matroska keeps milliseconds only, so two frames or three have the same time."""
    for codec in ("-c:v mjpeg -q:v 2", X264):
        video = check_recording(record(tmp_path / "fast.mkv", f"{codec} -fps_mode passthrough", rate=2000))
        assert len(video) == 40
        np.testing.assert_allclose(video.times, np.arange(40) / 2000, atol=0.001)


def test_times_of_an_avi_tell_where_its_recorder_skipped_frames(tmp_path):
    for codec in ("-c:v mjpeg -q:v 2", X264):
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # its header counts the skipped ones too, but it is whole
            video = open_video(record(tmp_path / "skipped.avi", f"{GAP} {codec}"))
        shown = [number_of(video.read(t)) for t in range(len(video))]
        np.testing.assert_allclose(video.times, np.array(shown) / 25, atol=1e-6)


def test_frames_that_an_edit_list_leaves_out(tmp_path):
    record(tmp_path / "whole.mp4", X264)
    cut = f"ffmpeg -v error -y -ss 0.62 -i {tmp_path}/whole.mp4 -c copy {tmp_path}/cut.mp4"
    subprocess.run(cut.split(), check=True)
    video = check_recording(tmp_path / "cut.mp4")
    assert number_of(video.read(0)) == 16


def test_recordings_that_were_joined_are_shown_one_after_the_other(tmp_path):
    for name, options in (("a.ts", f"{X264} -f mpegts"), ("a.mpg", "-c:v mpeg2video -g 12 -bf 2 -q:v 2")):
        path = record(tmp_path / name, options)
        path.write_bytes(2 * path.read_bytes())
        with pytest.warns(UserWarning, match="holds 2 recordings, one after the other"):
            video = check_recording(path)
        assert len(video) == 80
        np.testing.assert_allclose(video.times, np.arange(80) / 25, atol=0.001)


def test_a_broadcast_that_was_tuned_into(tmp_path):
    path = record(tmp_path / "a.ts", f"{X264} -f mpegts")
    content = path.read_bytes()
    path.write_bytes(content[188 * (len(content) // 188 // 3) :])
    assert 0 < len(check_recording(path)) < 40


CODECS = {
    "libx264": "-c:v libx264 -pix_fmt yuv420p -x264-params open-gop={open}",
    "mpeg4": "-c:v mpeg4 -q:v 2",
    "mpeg2video": "-c:v mpeg2video -q:v 2",
    "mjpeg": "-c:v mjpeg -q:v 2",
}
CONTAINERS = {
    "mp4": set(CODECS),
    "mkv": set(CODECS),
    "mov": set(CODECS),
    "ts": {"libx264", "mpeg2video"},
    "avi": set(CODECS),
}


@given(data=st.data())
@settings(max_examples=20)
def test_any_recording(data, tmp_path):
    draw = data.draw
    suffix = draw(st.sampled_from(sorted(CONTAINERS)))
    codec = draw(st.sampled_from(sorted(CONTAINERS[suffix])))
    options = CODECS[codec].format(open=draw(st.integers(0, 1)))
    if codec != "mjpeg":
        options += f" -g {draw(st.integers(1, 20))} -bf {draw(st.integers(0, 3))}"
    first, last = sorted(draw(st.tuples(st.integers(1, 7), st.integers(1, 7))))
    if draw(st.booleans()):
        options = f"-vf select='not(between(n,{first},{last}))' -fps_mode passthrough {options}"
    rate = 25 if "mpeg" in codec else draw(st.sampled_from(["24000/1001", "15", "120", "1000"]))
    path = record(tmp_path / f"any.{suffix}", options, n=draw(st.integers(10, 40)), rate=rate)
    joined = suffix == "ts" and draw(st.booleans())
    if joined:
        path.write_bytes(2 * path.read_bytes())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if joined else "error")
        check_recording(path, seed=draw(st.integers(0, 99)))


@pytest.mark.parametrize("name", ["camera.mts", "dvd.mpg", "raw.h264", "h264.avi", "h264.mkv"])
def test_jumps_do_not_begin_at_the_beginning(name, tmp_path, monkeypatch):
    video = open_video(record(tmp_path / name, FILES.get(name, X264), n=120))
    video.read(0)
    begun = []
    monkeypatch.setattr(decoder.Decoder, "_begin", lambda self: begun.append(self))
    assert [number_of(video.read(t)) for t in (100, 50, 119, 27)] == [100, 50, 119, 27]
    assert not begun


def test_a_container_that_cannot_jump_is_read_from_its_beginning(tmp_path, monkeypatch):
    video = open_video(record(tmp_path / "a.ts", FILES["camera.mts"]))
    monkeypatch.setattr(decoder.Decoder, "_places", lambda self, packet: [])
    assert [number_of(video.read(t)) for t in (30, 5, 39, 17)] == [30, 5, 39, 17]


def test_an_index_that_took_long_is_kept(tmp_path, monkeypatch):
    path = record(tmp_path / "raw.h264", X264)
    monkeypatch.setattr(frame_index, "KEPT_SECONDS", 0)
    monkeypatch.setattr(frame_index, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setenv("NAPARI_PML_CACHE_GB", "1")
    check_recording(path)
    (kept,) = (tmp_path / "cache").rglob("*.npz")
    with monkeypatch.context() as context:
        context.setattr(frame_index, "_built", None)  # is not asked again
        check_recording(path)
    kept.write_bytes(kept.read_bytes()[:100])
    check_recording(path)
