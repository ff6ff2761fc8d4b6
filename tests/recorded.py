"""Recordings made by FFmpeg of frames that show their own number, and what FFmpeg itself says of a file."""

from __future__ import annotations

import json
import random
import subprocess
from itertools import pairwise

import av
import numpy as np

from napari_pml.video.video import open_video

HEIGHT, WIDTH = 32, 160


def numbered_frame(t, height=HEIGHT, width=WIDTH):
    """A frame that shows its number in eight bright or dark bars."""
    bars = np.where(t >> np.arange(8) & 1, 220, 30).astype(np.uint8)
    return np.broadcast_to(bars.repeat(width // 8)[None, :, None], (height, width, 3)).copy()


def number_of(frame):
    """The number that a frame (H, W, C) shows."""
    width = frame.shape[1]
    bars = frame[frame.shape[0] // 2, width // 16 :: width // 8].mean(axis=-1)
    return int(((bars > np.iinfo(frame.dtype).max / 2) << np.arange(8)).sum())


def record(path, options, n=40, rate=25, height=HEIGHT, width=WIDTH):
    """Write n numbered frames with FFmpeg's command line."""
    source = f"-f rawvideo -pix_fmt rgb24 -s {width}x{height} -r {rate} -i -"
    command = ["ffmpeg", "-v", "error", "-y", *source.split(), *options.split(), str(path)]
    frames = b"".join(numbered_frame(t, height, width).tobytes() for t in range(n))
    subprocess.run(command, input=frames, check=True, capture_output=True)
    return path


def as_ffmpeg_decodes(path):
    """The numbers of all frames, in the order in which FFmpeg's libraries give them."""
    with av.open(str(path)) as container:
        return [number_of(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def times_of_ffmpeg(path):
    """When ffprobe says that each frame is shown, in seconds since the first; NaN where it does not."""
    asked = [
        "-v",
        "quiet",
        "-select_streams",
        "v:0",
        "-show_entries",
        "frame=best_effort_timestamp_time",
        "-of",
        "json",
    ]
    said = subprocess.run(["ffprobe", *asked, str(path)], check=True, capture_output=True).stdout
    times = np.array([float(f.get("best_effort_timestamp_time", "nan")) for f in json.loads(said)["frames"]])
    return times - times[0]


def check_recording(path, seed=0):
    """Check that every frame is what FFmpeg decodes, in order and at random; return the video."""
    right = as_ffmpeg_decodes(path)
    video = open_video(path)
    assert [number_of(video.read(t)) for t in range(len(video))] == right
    order = random.Random(seed).sample(range(len(right)), len(right))
    video = open_video(path)  # with nothing decoded yet
    assert {t: number_of(video.read(t)) for t in order} == dict(enumerate(right))
    assert len(video.times) == len(right)
    assert all(a <= b for a, b in pairwise(video.times))
    assert not video.damaged
    return video
