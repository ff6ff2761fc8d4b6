"""Files that somebody made on purpose: nothing is run, nothing else is touched, and memory suffices."""

import base64
import gzip
import io
import json
import os
import resource
import shutil
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import av
import numpy as np
import pytest
import tifffile
import torch
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from drawn_video import ColourEmbedder, draw_video
from napari_pml import Session, open_video
from napari_pml.disk.untrusted import MAX_BYTES, MAX_PIXELS
from napari_pml.embedding.registry import load_embedder
from napari_pml.embedding.weights import load_weights
from napari_pml.errors import AnnotationError, PmlError, ProjectError, VideoError, WeightsError
from napari_pml.io.label_files import read_annotation
from napari_pml.io.label_images import read_labels
from napari_pml.store.project import Project
from napari_pml.video.working import WorkingVideo
from odd import says_what_to_do

FRAMES, MASKS = draw_video(3, 24, 32)
MASKS = MASKS | 1  # such a small video shows nothing
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::ResourceWarning")

POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 24\n({}) (w) file closefile\nshowpage\n"
OTHER_KINDS = {  # that Pillow would open, whatever they are called
    "eps": POSTSCRIPT,
    "ppm": b"P6 32 24 255\n" + bytes(32 * 24 * 3),
    "fits": b"SIMPLE  =                    T".ljust(2880),
    "xbm": b"#define a_width 32\n#define a_height 24\nstatic char a_bits[] = {0};\n",
    "wmf": b"\xd7\xcd\xc6\x9a" + bytes(40),
    "psd": b"8BPS\0\1" + bytes(40),
}
PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile '{}'\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
}


def write_video(path, frames=FRAMES):
    with av.open(f"file:{path}", "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def refused(read, *expected):
    """Check that something ends in an error that says what to do."""
    with pytest.raises(expected or PmlError) as caught:
        read()
    says_what_to_do(caught.value)


@pytest.mark.parametrize("kind", OTHER_KINDS)
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.bmp", "a.webp"])
def test_images_of_other_kinds_are_not_opened(kind, name, tmp_path):
    made = tmp_path / "made"
    content = OTHER_KINDS[kind].replace(b"{}", os.fsencode(made))
    folder = tmp_path / "frames"
    folder.mkdir()
    (folder / name).write_bytes(content)
    refused(lambda: open_video(folder), VideoError)
    refused(lambda: read_labels(folder / name), AnnotationError)
    shape = {"label": "a", "shape_type": "mask", "points": [[0, 0]], "mask": base64.b64encode(content).decode()}
    (tmp_path / "a.json").write_text(json.dumps({"imageWidth": 32, "imageHeight": 24, "shapes": [shape]}))
    refused(lambda: read_annotation(tmp_path / "a.json", 0), AnnotationError)
    assert not made.exists()


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "a.mkv"])
def test_a_video_opens_no_other_file(kind, name, tmp_path):
    write_video(tmp_path / "real.mp4")
    (tmp_path / name).write_text(PLAYLISTS[kind].format("real.mp4"))
    refused(lambda: open_video(tmp_path / name), VideoError)


@pytest.mark.skipif(os.name == "nt", reason="there, files cannot have such names")
@pytest.mark.parametrize(
    "name", ["2024-05-01T12:30:00.mp4", "http:", "pipe:0", "file:a.mp4", "concat:a|b", "data:,", "a%03d.mp4", "cache:x"]
)
def test_any_name_is_that_of_a_file(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_video(name)
    video = open_video(name)
    assert video.shape == FRAMES.shape[:3]
    video.read(2)
    Path(name).unlink()
    refused(lambda: open_video(name), VideoError)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
@pytest.mark.parametrize("name", ["a.mp4", "a.tif", "a.npy", "a.png", "a.json", "a.xml", "a.safetensors", "a.pth"])
def test_pipes_are_refused_at_once(name, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    os.mkfifo(folder / name)
    if name.endswith(("mp4", "tif")):
        refused(lambda: open_video(folder / name), VideoError)
    if name.endswith(("tif", "png")):
        refused(lambda: open_video(folder), VideoError)
        refused(lambda: read_labels(folder / name), AnnotationError)
    if name.endswith(("npy", "json", "xml")):
        refused(lambda: read_annotation(folder / name, 0), AnnotationError)
    if name.endswith(("safetensors", "pth")):
        refused(lambda: load_weights(folder / name), WeightsError)


# What claims to be larger than memory


def png(width: int, height: int) -> bytes:
    """A PNG of any size: a header, and a few bytes of pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


def gif(width: int, height: int) -> bytes:
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x05\x84\x8f\xa9\xcb\x0f\x00\x3b"
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0" + bytes(3) + b"\xff" * 3 + frame


def zstd(claimed: int) -> bytes:
    """A chunk that says that it becomes so many bytes."""
    return b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", claimed) + b"\x01\0\0" + bytes(20)


def tiff(path, length: int, inflated: int) -> None:
    """A TIFF of one strip, which inflates to more than its header says."""
    deflate = zlib.compressobj(1, wbits=-15)
    megabyte = deflate.compress(bytes(2**20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    data = b"\x78\x01" + megabyte * (inflated // 2**20) + b"\x03\0" + bytes(4)
    tifffile.imwrite(path, np.zeros((length, 64), np.uint8), compression="zlib", rowsperstrip=length)
    with tifffile.TiffFile(path, mode="r+b") as file:
        page, end = file.pages[0], file.filehandle.size
        page.tags["StripOffsets"].overwrite(end)
        page.tags["StripByteCounts"].overwrite(len(data))
    with path.open("ab") as stream:
        stream.write(data)


@pytest.fixture
def limited():
    """The address space of this process, of which 2 GB more than now may be used."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2 * MAX_BYTES, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


linux = pytest.mark.skipif(sys.platform != "linux", reason="memory cannot be limited")


@linux
def test_what_claims_to_be_huge_takes_no_memory(tmp_path, limited):
    (tmp_path / "a.gif").write_bytes(gif(16_000, 16_000))
    refused(lambda: open_video(tmp_path / "a.gif"), VideoError)
    (tmp_path / "a.png").write_bytes(png(13_000, 13_000))
    refused(lambda: read_labels(tmp_path / "a.png"), AnnotationError)
    (tmp_path / "frames").mkdir()
    shutil.copy(tmp_path / "a.png", tmp_path / "frames")
    refused(lambda: open_video(tmp_path / "frames"), VideoError)
    np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.int64, (13_000, 13_000))
    refused(lambda: read_labels(tmp_path / "a.npy"), AnnotationError)
    tiff(tmp_path / "a.tif", 3, 3 * MAX_BYTES)
    for read in (read_labels, lambda path: open_video(path).read(0)):
        try:
            found = read(tmp_path / "a.tif")
        except PmlError as error:
            says_what_to_do(error)
        else:
            assert not found.any()
    with (tmp_path / "a.safetensors").open("wb") as file:
        header = json.dumps({"a": {"dtype": "F32", "shape": [2**32], "data_offsets": [0, 2**34]}}).encode()
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + 2**34)
    refused(lambda: load_weights(tmp_path / "a.safetensors"), WeightsError)
    torch.save({"a": torch.zeros(1, dtype=torch.half).expand(2**34)}, tmp_path / "a.pth")
    refused(lambda: load_weights(tmp_path / "a.pth"), WeightsError)
    with zipfile.ZipFile(tmp_path / "b.pth", "w") as archive:
        archive.writestr("b/data.pkl", b"")
        archive.infolist()[0].file_size = 3 * MAX_BYTES
    refused(lambda: load_weights(tmp_path / "b.pth"), WeightsError)


@linux
@pytest.mark.parametrize(
    ("shape", "chunks", "dtype"),
    [
        ((3000, 1000, 1000), (3000, 1000, 1000), "uint8"),
        ((10**12, 8, 8), (1, 8, 8), "uint8"),
        ((3, 10**6, 10**6), (1, 8, 8), "uint8"),
        ((3, 8000, 8000, 9), (1, 8000, 8000, 9), "float64"),
        ((2**40, 2**10, 2**10), (2**40, 1, 1), "uint8"),
    ],
)
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_arrays_that_claim_to_be_huge(shape, chunks, dtype, zarr_format, tmp_path, limited):
    zarr.create_array(tmp_path / "a.zarr", shape=shape, chunks=chunks, dtype=dtype, zarr_format=zarr_format)
    refused(lambda: open_video(tmp_path / "a.zarr", channel_axis=3 if len(shape) == 4 else None), VideoError)


@linux
@pytest.mark.parametrize("content", [zstd(50 * 10**9), zstd(3 * 2**30), zstd(2**64 - 3)], ids=["50 GB", "3 GB", "most"])
def test_chunks_that_claim_to_be_huge(content, tmp_path, limited):
    zarr.save_array(tmp_path / "a.zarr", FRAMES[..., 0])
    (tmp_path / "a.zarr/c/0/0/0").write_bytes(content)
    refused(lambda: open_video(tmp_path / "a.zarr").read(0), VideoError)
    path, video = tmp_path / "a.pml.zarr", open_video(FRAMES)
    session = Session(video, embedder=ColourEmbedder(), project=Project.create(path, video))
    session.annotate(0, MASKS[0], complete=True)
    list(session.propagate())
    session.project.close()
    for chunk in path.rglob("c.*"):
        chunk.write_bytes(content)
    project = Project.open(path)
    assert project.annotations.frames == {}
    assert Session(video, embedder=ColourEmbedder(), project=project).stale_frames() == [0, 1, 2]
    project.close()


def test_chunks_that_inflate(tmp_path, monkeypatch):
    monkeypatch.setattr("napari_pml.disk.arrays.MAX_BYTES", 2**24)
    monkeypatch.setattr("napari_pml.disk.untrusted.MAX_BYTES", 2**24)
    path = tmp_path / "a.zarr"
    zarr.create_array(path, shape=(3, 24, 32), chunks=(1, 24, 32), dtype="u1", compressors=zarr.codecs.GzipCodec())
    (path / "c/0/0").mkdir(parents=True)
    for bomb in (gzip.compress(bytes(2**25), 1), gzip.compress(bytes(2**20), 1) * 32):
        (path / "c/0/0/0").write_bytes(bomb)
        with pytest.raises(VideoError, match=r"would take 0\.0 GB"):
            open_video(path, strict=True).read(0)


def test_frames_are_not_enlarged_beyond_the_limit():
    for name in ("compact@4x@4x", "compact@2x"):
        refused(lambda name=name: load_embedder(name, torch.device("cpu")), WeightsError)
    video = open_video(np.broadcast_to(np.uint8(0), (2, 4000, MAX_PIXELS // 16 // 4000 + 9)))
    refused(lambda: WorkingVideo(video, "4x"), VideoError)


# Links


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A project with everything that one may have."""
    path, video = tmp_path_factory.mktemp("whole") / "whole.pml.zarr", open_video(FRAMES)
    session = Session(video, embedder=ColourEmbedder(), project=Project.create(path, video))
    session.annotate(0, MASKS[0], complete=True)
    session.project.save_learned("osvos", {"a": np.ones(3)})
    session.project.save_references("b", {"labels": np.ones(3)})
    list(session.propagate())
    session.project.close()
    return path


def test_nothing_in_a_project_is_a_link(whole, tmp_path):
    places = sorted(p.relative_to(whole).as_posix() for p in whole.rglob("*"))
    assert {"learned", "masks", "lock", "annotations", "masks/labels/c.0.0.0"} <= {*places}
    before = {p: p.read_bytes() for p in whole.rglob("*") if p.is_file()}

    @settings(max_examples=200, deadline=None)
    @given(st.sampled_from([*places, "further"]), st.sampled_from(["file", "folder", "nothing", "itself", "inside"]))
    def check(place, target):
        path = tmp_path / "copy.pml.zarr"
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(whole, path)
        spot = path / place
        targets = {
            "file": whole / "zarr.json",
            "folder": whole / "masks",
            "nothing": tmp_path / "gone",
            "itself": spot,
            "inside": path / "zarr.json",
        }
        if spot.is_dir():
            shutil.rmtree(spot)
        spot.unlink(missing_ok=True)
        spot.symlink_to(targets[target])
        refused(lambda: Project.open(path), ProjectError)
        assert {p: p.read_bytes() for p in whole.rglob("*") if p.is_file()} == before
        assert not (tmp_path / "gone").exists()

    check()


# Headers with other numbers in them


@settings(max_examples=250, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.sampled_from([png, gif]))
def test_any_size_in_a_header(tmp_path_factory, width, height, make):
    path = tmp_path_factory.getbasetemp() / "any"
    if make is gif:
        width, height = width % 2**16, height % 2**16
    path.write_bytes(make(width, height))
    try:
        labels = read_labels(path)
    except AnnotationError as error:
        says_what_to_do(error)
    else:
        assert labels.size <= MAX_PIXELS


NUMBERS = st.one_of(
    st.integers(-2, 40), st.sampled_from([2**31, 2**32, 2**63 - 1, 2**63, 2**64, 10**12, 10**30, -1, None, "9", 1.5])
)


@settings(max_examples=250, deadline=None)
@given(st.data())
def test_any_number_in_the_metadata_of_an_array(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "numbers.zarr"
    if not path.exists():
        zarr.save_array(path, FRAMES[..., 0])
        shutil.copy(path / "zarr.json", path.with_suffix(".json"))
    found = json.loads(path.with_suffix(".json").read_text())
    for place in (found["shape"], found["chunk_grid"]["configuration"]["chunk_shape"]):
        place[data.draw(st.integers(0, 2))] = data.draw(NUMBERS)
    (path / "zarr.json").write_text(json.dumps(found))
    try:
        video = open_video(path)
        video.rgb(len(video) - 1)
    except VideoError as error:
        says_what_to_do(error)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["revision", "format", "channel_axis", "shape", "frames", "copies", "complete"]), NUMBERS)
def test_any_number_in_a_record(whole, tmp_path_factory, field, number):
    path = tmp_path_factory.getbasetemp() / "numbers.pml.zarr"
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(whole, path)
    content = json.loads((path / "zarr.json").read_text())
    record = content["attributes"]["napari-pml"]
    values = {"shape": [number, 24, 32], "frames": {"0": number}, "copies": {"0": number}, "complete": [number]}
    record[field] = values.get(field, number)
    (path / "zarr.json").write_text(json.dumps(content))
    try:
        project = Project.open(path)
    except ProjectError as error:
        says_what_to_do(error)
        return
    try:
        session = Session(open_video(FRAMES), embedder=ColourEmbedder(), project=project)
        session.annotate(1, MASKS[1], complete=True)
        list(session.propagate())
    except PmlError as error:
        says_what_to_do(error)
    finally:
        project.close()


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(exclude_categories=[]), max_size=9).map(lambda text: text * 40))
def test_any_name(tmp_path_factory, name):
    folder = tmp_path_factory.getbasetemp() / "names"
    folder.mkdir(exist_ok=True)
    for read in (open_video, load_weights, Project.open, read_labels):
        refused(lambda read=read: read(folder / f"{name.replace('/', '')}x"))
    shape = {"label": name, "points": [[1, 1], [9, 1], [5, 9]]}
    (folder / "a.json").write_text(json.dumps({"imageWidth": 32, "imageHeight": 24, "shapes": [shape]}))
    for known in read_annotation(folder / "a.json", 0).names.values():
        known.encode()


def test_polygons_of_many_corners(tmp_path):
    angle = np.linspace(0, 2 * np.pi, 100_000)
    radius = 400 + np.random.default_rng(0).random(angle.size)
    corners = np.stack([600 + radius * np.cos(angle), 550 + radius * np.sin(angle)], axis=1)
    shape = {"label": "a", "points": corners.tolist()}
    (tmp_path / "a.json").write_text(json.dumps({"imageWidth": 1200, "imageHeight": 1100, "shapes": [shape]}))
    labels = read_annotation(tmp_path / "a.json", 0).labels
    y, x = np.mgrid[:1100, :1200]
    distance = np.hypot(x - 600, y - 550)
    assert labels[distance < 399].all()
    assert not labels[distance > 403].any()


@pytest.mark.parametrize("n", [300, 20_000])
def test_polygons_of_many_corners_are_those_of_few(n):
    from napari_pml.io import polygons

    angle = np.linspace(0, 2 * np.pi, n)
    corners = np.stack([100 + 80 * np.cos(angle), 90 + 70 * np.sin(3 * angle)], axis=1)
    drawn = []
    for many in (10**9, 1):
        image = Image.new("I", (200, 180))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(polygons, "MANY", many)
            polygons.fill_polygon(image, corners, 7)
        drawn.append(np.asarray(image))
    assert (drawn[0] != drawn[1]).mean() < 0.005  # on the outline, where a corner leaves several ways


@pytest.mark.skipif(shutil.which("gs") is None, reason="the program is not there")
def test_postscript_would_be_run(tmp_path):
    """What all this is about: by itself, Pillow does run it."""
    made = tmp_path / "made"
    code = f"from PIL import Image; Image.open({str(tmp_path / 'a.png')!r}).load()"
    (tmp_path / "a.png").write_bytes(POSTSCRIPT.replace(b"{}", os.fsencode(made)))
    subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)


def test_bytes_are_images_too():
    file = io.BytesIO()
    Image.fromarray(MASKS[0].astype(np.uint8)).save(file, "PNG")
    from napari_pml.disk.untrusted import open_image

    assert open_image(file).size == (32, 24)
