import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import zarr
from PIL import Image
from typer.testing import CliRunner

from napari_pml import open_video
from napari_pml.cli import app
from napari_pml.embedding.networks.details import N_DETAILS
from napari_pml.engine.session import Session
from napari_pml.io.label_images import read_labels, write_mask_png
from napari_pml.store.project import Project
from napari_pml.store.project_record import ProjectRecord


@pytest.fixture
def run():
    def run(*args):
        return CliRunner().invoke(app, [str(arg) for arg in args])

    return run


@pytest.fixture
def clip(tmp_path, drawn):
    """A folder of images and the masks of its first and last frame."""
    frames, masks = drawn
    (tmp_path / "clip").mkdir()
    for t, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"clip/{t}.png")
    write_mask_png(masks[0], tmp_path / "first.png")
    write_mask_png(masks[7], tmp_path / "last.png")
    return tmp_path / "clip"


def test_segment_writes_a_png_for_every_frame_and_an_overlay(run, clip, tmp_path):
    out = tmp_path / "mouse.1"
    result = run(
        "segment", clip, "--annotations", f"0={tmp_path / 'first.png'}", "--annotations", f"7={tmp_path / 'last.png'}",
        "--out", out, "--overlay", tmp_path / "overlay.mp4", "--device", "cpu",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert sorted(p.name for p in out.iterdir()) == [f"{t:05d}.png" for t in range(8)]
    assert (read_labels(out / "00007.png") == read_labels(tmp_path / "last.png")).all()
    assert set(np.unique(read_labels(out / "00004.png"))) == {0, 1, 2}
    assert open_video(tmp_path / "overlay.mp4").shape == (8, 96, 128)


def test_masks_of_a_longer_video_do_not_stay_beside_others(run, clip, tmp_path):
    (tmp_path / "out").mkdir()
    write_mask_png(np.ones((4, 4), np.uint16), tmp_path / "out" / "00008.png")
    result = run("segment", clip, "--annotations", tmp_path / "first.png", "--out", tmp_path / "out", "--device", "cpu")
    assert result.exit_code == 1
    assert "00008.png is the mask of a frame that this video, which has 8, does not have" in result.output
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["00008.png"]


def test_a_run_is_saved_as_a_project_and_continued(run, clip, tmp_path, drawn):
    project, out = tmp_path / "clip.pml.zarr", tmp_path / "masks"
    first = ("--annotations", tmp_path / "first.png")
    assert run("segment", clip, *first, "--out", tmp_path / "once", "--project", project).exit_code == 0
    result = run("segment", clip, "--out", out, "--project", project)
    assert result.exit_code == 0, result.output
    for t in range(8):
        assert (read_labels(out / f"{t:05d}.png") == read_labels(tmp_path / f"once/{t:05d}.png")).all()

    (tmp_path / "mirrored").mkdir()
    for t, frame in enumerate(drawn[0]):
        Image.fromarray(frame[:, ::-1]).save(tmp_path / f"mirrored/{t}.png")
    result = run("segment", tmp_path / "mirrored", "--transfer-from", project, "--out", tmp_path / "learned")
    assert result.exit_code == 0, result.output
    assert set(np.unique(read_labels(tmp_path / "learned/00004.png"))) == {0, 1, 2}


def test_the_overlay_has_the_colours_of_the_project(run, clip, tmp_path, drawn):
    project, overlay = tmp_path / "clip.pml.zarr", tmp_path / "overlay.mp4"
    first = ("--annotations", tmp_path / "first.png", "--out", tmp_path / "masks")
    assert run("segment", clip, *first, "--project", project).exit_code == 0
    kept = Project.open(project)
    kept.note(colours={2: (255, 0, 255)})
    kept.flush()
    kept.close()
    result = run("segment", clip, "--out", tmp_path / "masks", "--project", project, "--overlay", overlay)
    assert result.exit_code == 0, result.output
    inside = drawn[1][0] == 2
    change = open_video(overlay).read(0)[inside].mean(axis=0) - drawn[0][0][inside].mean(axis=0)
    assert change[0] > 20
    assert change[1] < 0


def test_a_project_keeps_its_method_and_settings_unless_others_are_given(run, clip, tmp_path):
    project = tmp_path / "clip.pml.zarr"

    def settings(*args):
        result = run("segment", clip, "--out", tmp_path / "masks", "--project", project, *args)
        assert result.exit_code == 0, result.output
        record = ProjectRecord.read(project)
        return record.revision, {name: record.provenance["settings"].get(name) for name in ("method", "window", "k")}

    first = ("--annotations", tmp_path / "first.png", "--method", "feelvos", "--config", "window=7")
    revision, known = settings(*first)
    assert known == {"method": "feelvos", "window": 7, "k": None}
    assert settings() == settings(*first) == (revision, known)  # nothing is stale
    assert settings("--config", "refine=none")[1] == known
    assert settings("--method", "pml", "--config", "k=3")[1] == {"method": "pml", "window": 12, "k": 3}
    assert settings("--method", "pml-paper")[1]["k"] == 5


def test_outlines_of_other_programs_bring_names_that_hold_on_every_frame(run, clip, tmp_path, drawn):
    def labelme(t, *order):
        shapes = []
        for label in order:
            rows, columns = np.nonzero(drawn[1][t] == label)
            box = [[int(columns.min()), int(rows.min())], [int(columns.max()), int(rows.max())]]
            shapes.append({"label": f"thing{label}", "shape_type": "rectangle", "points": box})
        path = tmp_path / f"{t}.json"
        path.write_text(json.dumps({"shapes": shapes, "imageWidth": 128, "imageHeight": 96}))
        return "--annotations", f"{t}={path}"

    project = tmp_path / "clip.pml.zarr"
    result = run(
        "segment", clip, *labelme(0, 1, 2), *labelme(7, 2, 1), "--out", tmp_path / "masks", "--project", project
    )
    assert result.exit_code == 0, result.output
    assert ProjectRecord.read(project).names == {1: "thing1", 2: "thing2"}
    again = ("segment", clip, "--out", tmp_path / "masks", "--project", project)
    assert run(*again, "--table", tmp_path / "a.csv", "--coco", tmp_path / "a.json").exit_code == 0
    assert pd.read_csv(tmp_path / "a.csv")["name"].tolist() == ["thing1", "thing2"] * 8
    assert json.loads((tmp_path / "a.json").read_text())["annotations"][1]["name"] == "thing2"
    for t in (0, 7):
        labels = read_labels(tmp_path / f"masks/{t:05d}.png")
        assert (labels[drawn[1][t] == 2] == 2).all()


def test_names_of_references_hold_in_this_video(run, clip, tmp_path):
    """The cell there is object 2, so it is here, though it is the only one that is outlined."""

    def labelme(name, *labels):
        shapes = [
            {"label": label, "shape_type": "rectangle", "points": [[20 * i + 5, 40], [20 * i + 20, 60]]}
            for i, label in enumerate(labels)
        ]
        (tmp_path / name).write_text(json.dumps({"shapes": shapes, "imageWidth": 128, "imageHeight": 96}))
        return "--annotations", tmp_path / name

    there, here, out = tmp_path / "there.pml.zarr", tmp_path / "here.pml.zarr", tmp_path / "masks"
    result = run("segment", clip, *labelme("there.json", "dog", "cell"), "--out", out, "--project", there)
    assert result.exit_code == 0, result.output
    references = ("--transfer-from", there, "--out", out, "--project", here)
    result = run("segment", clip, *references)
    assert result.exit_code == 0, result.output
    assert ProjectRecord.read(here).names == {1: "dog", 2: "cell"}
    result = run("segment", clip, *labelme("here.json", "cell", "bird"), *references)
    assert result.exit_code == 0, result.output
    assert ProjectRecord.read(here).names == {1: "dog", 2: "cell", 3: "bird"}
    assert set(np.unique(read_labels(out / "00000.png"))) == {0, 2, 3}


def test_strokes_and_the_papers_settings(run, clip, tmp_path, drawn):
    strokes = np.zeros((96, 128), np.uint8)
    strokes[60, 20:40] = 1
    strokes[90, :] = 255
    Image.fromarray(strokes).save(tmp_path / "strokes.png")
    out = tmp_path / "masks.zarr"
    result = run("segment", clip, "--strokes", tmp_path / "strokes.png", "--out", out, "--method", "pml-paper")
    assert result.exit_code == 0, result.output
    labels = zarr.open_array(out, mode="r")[:]
    assert (labels[0, 60, 20:40] == 1).all()
    assert (labels[0, 90] == 0).all()


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["{clip}", "--out", "{tmp}/m"], "Nothing is annotated"),
        (["{clip}", "--out", "{tmp}/m", "--annotations", "0={tmp}/gone.png"], "there is no file"),
        (["{clip}", "--out", "{tmp}/m", "--annotations", "x={tmp}/first.png"], "expected FRAME=FILE"),
        (["{clip}", "--out", "{tmp}/m", "--annotations", "9={tmp}/first.png"], "frames 0 to 7"),
        (["{clip}", "--out", "{tmp}/m", "--annotations", "0={tmp}/small.png"], "96 x 128"),
        (["{clip}", "--out", "{tmp}/m", "--annotations", "{tmp}/first.png", "--strokes", "{tmp}/first.png"], "both"),
        (["{clip}", "--out", "{tmp}/m.avi", "--annotations", "{tmp}/first.png"], "not .avi"),
        (["{tmp}/gone.mp4", "--out", "{tmp}/m", "--annotations", "{tmp}/first.png"], "no file or folder"),
        (["{clip}", "--out", "{tmp}/m", "--annotations", "{tmp}/first.png", "--embedder", "vgg"], "Choose one of"),
        (["{clip}", "--out", "{tmp}/m", "--annotations", "{tmp}/first.png", "--device", "gpu"], "cannot be used"),
        (["{clip}", "--out", "{tmp}/m", "--strokes", "{tmp}/white.png"], "only background"),
    ],
)  # fmt: skip
def test_mistakes_are_explained_in_one_line(run, clip, tmp_path, args, says):
    Image.fromarray(np.ones((5, 5), np.uint8)).save(tmp_path / "small.png")
    Image.fromarray(np.full((96, 128), 255, np.uint8)).save(tmp_path / "white.png")
    result = run("segment", *(arg.format(clip=clip, tmp=tmp_path) for arg in args))
    assert result.exit_code == 1
    assert says in result.output
    assert "Traceback" not in result.output
    assert not (tmp_path / "m").exists()


def test_ctrl_c_leaves_the_finished_frames(tmp_path, drawn):
    frames = np.concatenate([drawn[0]] * 20).repeat(3, 1).repeat(3, 2)
    np.save(tmp_path / "first.npy", drawn[1][0].repeat(3, 0).repeat(3, 1))
    zarr.save_array(tmp_path / "long.zarr", frames)
    out = tmp_path / "masks"
    process = subprocess.Popen(
        [sys.executable, "-m", "napari_pml.cli", "segment", tmp_path / "long.zarr", "--out", out,
         "--annotations", tmp_path / "first.npy", "--device", "cpu"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"TQDM_DISABLE": "1"},
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not (out / "00003.png").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (out / "00003.png").exists()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "what is finished is kept" in errors
    finished = list(out.iterdir())
    assert 4 <= len(finished) < len(frames)
    assert all(read_labels(path).shape == (288, 384) for path in finished)


@pytest.fixture
def corrected(run, clip, tmp_path, monkeypatch):
    """Segments a clip into masks/, then gives another frame and is stopped after so many new masks."""
    whole = Session.propagate
    project = ("--project", tmp_path / "clip.pml.zarr")

    def corrected(n, *outputs):
        def propagate(session, start):
            masks = whole(session, start)
            while len(session.video) - len(session.stale_frames()) < n:
                yield next(masks)
            raise KeyboardInterrupt

        assert run("segment", clip, "--annotations", tmp_path / "first.png", "--out", "masks", *project).exit_code == 0
        monkeypatch.setattr(Session, "propagate", propagate)
        result = run("segment", clip, "--annotations", f"7={tmp_path / 'last.png'}", *outputs, *project)
        assert result.exit_code == 130
        return result.stdout.splitlines()[1:]

    monkeypatch.chdir(tmp_path)
    return corrected


def test_after_ctrl_c_results_hold_masks_of_the_present_annotations_alone(corrected, tmp_path):
    outputs = ("--out", "new.tif", "--table", "new.csv", "--coco", "new.json", "--overlay", "new.mp4")
    *_, said, empty = corrected(3, *outputs)
    images = json.loads((tmp_path / "new.json").read_text())["images"]
    assert said == "3 masks in new.tif, overlay in new.mp4"
    assert empty == "5 of 8 frames have no finished mask and are empty in what was written; run it again."
    assert len(images) == 3
    frames = {image["frame"] for image in images}
    assert set(pd.read_csv(tmp_path / "new.csv")["frame"]) == frames
    assert {t for t in range(8) if open_video(tmp_path / "new.tif").read(t).any()} == frames


def test_after_ctrl_c_masks_of_an_earlier_run_are_counted_and_stay(corrected, tmp_path):
    said = ["3 masks in masks", "5 masks of other frames in masks are from an earlier run."]
    assert corrected(3, "--out", "masks")[-2:] == said
    assert len(list((tmp_path / "masks").iterdir())) == 8


def test_without_any_new_mask_no_result_is_written(corrected, tmp_path):
    (tmp_path / "new.tif").write_bytes(b"an earlier result")
    assert corrected(0, "--out", "new.tif", "--table", "new.csv")[-1] == "0 masks in new.tif"
    assert (tmp_path / "new.tif").read_bytes() == b"an earlier result"
    assert not (tmp_path / "new.csv").exists()


def test_demo_prints_how_good_it_was(run, tmp_path):
    result = run("demo", "--out", tmp_path / "demo")
    assert result.exit_code == 0, result.output
    score = float(result.output.split("J&F ")[1].split()[0])
    assert score > 0.8
    assert {"overlay.mp4", "contact_sheet.png", "masks"} == {p.name for p in (tmp_path / "demo").iterdir()}


def test_info_tells_what_a_bug_report_needs(run):
    output = run("info").output
    for word in ("napari-pml", "torch", "device", "embedder  compact", "temperature=0.05"):
        assert word in output


def test_train_adapts_to_videos_and_stills(run, tmp_path, drawn):
    """One video of which one frame is annotated, and one still."""
    for folder in ("video/JPEGImages/480p/shapes", "video/Annotations/480p/shapes", "stills/images", "stills/masks"):
        (tmp_path / folder).mkdir(parents=True)
    for t, frame in enumerate(drawn[0]):
        Image.fromarray(frame).save(tmp_path / f"video/JPEGImages/480p/shapes/{t:05d}.png")
    Image.fromarray(drawn[0][0]).save(tmp_path / "stills/images/a.png")
    write_mask_png(drawn[1][3], tmp_path / "video/Annotations/480p/shapes/00003.png")
    write_mask_png(drawn[1][0], tmp_path / "stills/masks/a.png")
    folders = tmp_path / "video", tmp_path / "stills"
    result = run("train", *folders, "--out", tmp_path / "run", "--steps", "1", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert {p.name for p in (tmp_path / "run").iterdir()} == {
        "compact.safetensors", "checkpoint.pt", "log.csv", "curve.svg",
    }  # fmt: skip
    result = run(
        "train", tmp_path / "stills", "--from", tmp_path / "run/compact.safetensors", "--loss", "standard_triplet",
        "--out", tmp_path / "second", "--steps", "1", "--device", "cpu",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert (tmp_path / "second/log.csv").read_text().startswith("step,standard_triplet,gradient_norm")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["{tmp}"], "no training material"),
        (["{tmp}/stills", "--from", "{tmp}/gone.safetensors"], "no weights"),
        (["{tmp}/stills", "--network", "osvos", "--loss", "standard_triplet"], "leave out --loss"),
    ],
)
def test_mistakes_in_training_are_explained(run, tmp_path, drawn, args, says):
    for folder in ("stills/images", "stills/masks"):
        (tmp_path / folder).mkdir(parents=True)
    Image.fromarray(drawn[0][0]).save(tmp_path / "stills/images/a.png")
    write_mask_png(drawn[1][0], tmp_path / "stills/masks/a.png")
    result = run("train", *(arg.format(tmp=tmp_path) for arg in args), "--out", tmp_path / "run")
    assert result.exit_code == 1
    assert says in result.output
    assert not (tmp_path / "run").exists()


def test_segment_also_writes_numbers(run, clip, tmp_path):
    first = ["segment", clip, "--annotations", tmp_path / "first.png", "--out", tmp_path / "masks", "--device", "cpu"]
    result = run(*first, "--table", tmp_path / "results.txt")
    assert result.exit_code == 1
    assert "written as .csv, not .txt" in result.output
    result = run(*first, "--table", tmp_path / "results.csv", "--coco", tmp_path / "masks.json")
    assert result.exit_code == 0, result.output
    header, *rows = (tmp_path / "results.csv").read_text().splitlines()
    assert header.startswith("frame,object,area_px,")  # a folder of images does not say how fast it is
    assert len(rows) == 16
    assert '"track_id": 2' in (tmp_path / "masks.json").read_text()


@pytest.fixture
def users_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("napari_pml.embedding.cache.cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setenv("NAPARI_PML_CACHE_GB", "1")


def test_what_is_embedded_beforehand_is_there_when_it_is_segmented(run, clip, tmp_path, users_cache):
    result = run("embed", clip, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "8 frames, 8 to embed" in result.output
    assert "8 frames, 0 to embed" in run("embed", clip, "--device", "cpu").output
    result = run("segment", clip, "--annotations", tmp_path / "first.png", "--out", tmp_path / "out", "--device", "cpu")
    assert "kept on disk, all there" in result.output
    listed = run("info", "--cache").output
    assert "clip  compact" in listed
    assert "1 videos" in listed
    assert "all removed" in run("info", "--clear").output
    assert "0 videos" in run("info", "--cache").output


def test_a_video_too_large_for_the_cache_is_said_before_the_work(run, clip, users_cache, monkeypatch):
    monkeypatch.setenv("NAPARI_PML_CACHE_GB", "0.0000001")
    result = run("embed", clip, "--device", "cpu")
    assert result.exit_code == 1
    assert "Raise the limit" in result.output


def test_videos_that_would_push_each_other_out_of_the_cache_are_said_before_the_work(
    run, clip, tmp_path, users_cache, monkeypatch
):
    clips = clip, shutil.copytree(clip, tmp_path / "second", copy_function=shutil.copy)  # now
    n_bytes = 8 * 12 * 16 * (64 + N_DETAILS) * 2  # of each: frames, cells, components of two bytes
    for room in (1.5, 2):  # checksums and headers need some, too
        monkeypatch.setenv("NAPARI_PML_CACHE_GB", str(room * n_bytes / 1e9))
        result = run("embed", *clips, "--device", "cpu")
        assert result.exit_code == 1
        assert "2 videos together" in result.output
        assert "NAPARI_PML_CACHE_GB" in result.output
        assert "to embed" not in result.output
    monkeypatch.setenv("NAPARI_PML_CACHE_GB", str(2.2 * n_bytes / 1e9))
    assert run("embed", *clips, "--device", "cpu").exit_code == 0
    again = run("embed", *clips, "--device", "cpu").output
    assert again.count("8 frames, 0 to embed") == 2


def test_nothing_is_embedded_beforehand_where_nothing_is_kept(run, clip):
    assert "NAPARI_PML_CACHE_GB is 0" in run("embed", clip).output
    assert "NAPARI_PML_CACHE_GB is 0" in run("info", "--cache").output


def test_the_time_that_embedding_will_take_is_said_first(run, clip, tmp_path):
    result = run("segment", clip, "--annotations", tmp_path / "first.png", "--out", tmp_path / "out", "--device", "cpu")
    assert "in memory only; 8 frames to embed, about" in result.output


@pytest.mark.parametrize("option", ["--annotations", "--strokes"])
def test_what_is_read_is_not_written_over(run, clip, tmp_path, option):
    (tmp_path / "mine").mkdir()
    first = (tmp_path / "first.png").rename(tmp_path / "mine" / "00000.png")
    before = first.read_bytes()
    result = run("segment", clip, option, first, "--out", tmp_path / "mine")
    assert result.exit_code == 1
    assert "would be overwritten" in result.output
    assert run("segment", clip, option, first, "--out", clip).exit_code == 1
    assert first.read_bytes() == before
    assert len(list(clip.iterdir())) == 8


@pytest.mark.parametrize(
    "outputs",
    [
        ["--out", "masks", "--coco", "first.json"],
        ["--out", "clip/3.tif"],  # would be a frame
        ["--out", "masks", "--project", "masks"],
        ["--out", "masks", "--transfer-from", "other.pml.zarr", "--coco", "other.pml.zarr/zarr.json"],
    ],
)
def test_no_result_is_written_over_what_is_read_or_another_result(run, clip, tmp_path, monkeypatch, outputs):
    monkeypatch.chdir(tmp_path)
    outline = {"label": "cell", "shape_type": "rectangle", "points": [[20, 30], [60, 70]]}
    content = json.dumps({"shapes": [outline], "imageWidth": 128, "imageHeight": 96})
    (tmp_path / "first.json").write_text(content)
    zarr.open_group(tmp_path / "other.pml.zarr", mode="w")
    before = sorted(tmp_path.rglob("*"))
    result = run("segment", clip, "--annotations", "first.json", *outputs)
    assert result.exit_code == 1
    assert "would be overwritten" in result.output
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "first.json").read_text() == content


def test_an_overlay_is_not_written_over_the_video(run, tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"a video")
    (tmp_path / "first.png").write_bytes(b"")
    result = run(
        "segment", tmp_path / "clip.mp4", "--annotations", tmp_path / "first.png", "--out", tmp_path / "out",
        "--overlay", tmp_path / "clip.mp4",
    )  # fmt: skip
    assert "would be overwritten" in result.output
    assert (tmp_path / "clip.mp4").read_bytes() == b"a video"
