import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import dask
import numpy as np
import psutil
import pytest
import zarr
from distributed import Client, LocalCluster, default_client
from PIL import Image
from typer.testing import CliRunner

from drawn_video import ColourEmbedder
from killed_worker import Deadly
from napari_pml import open_video
from napari_pml.cli import app
from napari_pml.cluster import batch
from napari_pml.cluster.batch import Network, local_workers, run_jobs, running_cluster
from napari_pml.cluster.jobs import read_jobs
from napari_pml.cluster.report import Outcome, State
from napari_pml.cluster.run_job import run_job
from napari_pml.engine.segment_video import segment_video
from napari_pml.engine.session import Session
from napari_pml.errors import ClusterError, JobsError, WeightsError
from napari_pml.io.export import export_masks
from napari_pml.io.label_images import RECORD, read_labels, write_mask_png

pytestmark = pytest.mark.slow

COMPACT = Network("compact", "cpu")


@pytest.fixture
def run():
    def run(*args):
        return CliRunner().invoke(app, [str(arg) for arg in args])

    return run


@pytest.fixture
def clip(tmp_path, drawn):
    """Makes a video of four frames in a folder of that name, and its first mask beside it."""

    def clip(name):
        frames, masks = drawn
        (tmp_path / name).mkdir()
        for t, frame in enumerate(frames[:4]):
            Image.fromarray(frame).save(tmp_path / name / f"{t}.png")
        write_mask_png(masks[0], tmp_path / f"{name}.png")
        return tmp_path / name

    return clip


@pytest.fixture
def table(tmp_path):
    """Writes a CSV of jobs."""

    def table(*rows):
        path = tmp_path / "jobs.csv"
        path.write_text("\n".join(rows) + "\n")
        return path

    return table


@pytest.fixture
def three(clip, table):
    """A table of three videos, of which the one in the middle is damaged on its last frame."""
    for name in ("a", "b", "c"):
        clip(name)
    damaged = table("video,out,annotations", "a,out/a,a.png", "b,out/b,0=b.png", "c,out/c,c.png").parent / "b/3.png"
    damaged.write_bytes(damaged.read_bytes()[:2000])
    return damaged.parents[1] / "jobs.csv"


@pytest.fixture(scope="module")
def client():
    """A cluster in this process: one worker that takes two jobs at a time."""
    with in_process() as cluster, Client(cluster, set_as_default=False) as client:
        yield client


def in_process(**options):
    return LocalCluster(1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0", **options)


def alive_in(group):
    """The processes of a group that do not end by themselves."""
    found = []
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, psutil.Error):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return psutil.wait_procs(found, timeout=10)[1]


def masks_in(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.png")}


def finish(job):
    """The outcome of a job done here and now."""
    steps = run_job(job, ColourEmbedder())
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (["video,annotations", "a,a.png"], "has no column 'out'"),
        (["video;out;annotations", "a;out;a.png"], "commas"),
        (["video,out,annotations,speed", "a,out,a.png,3"], "a column 'speed'"),
        (["video,out,annotations,annotations", "a,out,0=a.png,2=a.png"], "two columns 'annotations'"),
        (["video,out,annotations"], "no rows"),
        (["video,out,annotations", "a,out,a.png,b.png"], "row 2 has more entries"),
        (["video,out,annotations", "a,out,a.png", "", "a,./out,a.png"], r"row 4 \(a\): ./out is where row 2 writes"),
        (["video,out,annotations", "a,out,a.png", "gone.mp4,b,a.png"], r"row 3 \(gone.mp4\): there is no file"),
        (["video,out,annotations", "a,out,a.png;1=gone.png"], r"row 2 \(a\): .*there is no file .*gone.png"),
        (["video,out,annotations", "a,out,jobs.csv"], r"row 2 \(a\): .*cannot be read as a label image"),
        (["video,out,annotations", "a,out,x=a.png"], r"row 2 \(a\): .*expected FRAME=FILE"),
        (["video,out,annotations,strokes", "a,out,a.png,0=a.png"], r"row 2 \(a\): Frame 0 has both"),
        (["video,out,annotations", "a,out,"], r"row 2 \(a\): nothing is annotated"),
        (["video,out,annotations", "a,,a.png"], r"row 2 \(a\): `out` is empty"),
        (["video,out,annotations", "a,masks.tif,a.png"], r"row 2 \(a\): `out` is a folder .* \.tif"),
        (["video,out,annotations", "a,out,a.png", "a,masks.PNG,a.png"], r"row 3 \(a\): `out` is a folder .* \.PNG"),
        (["video,out,annotations", "a,out,a.png", "a,old,1=old/00003.png"], r"row 3 \(a\): the masks would overwrite"),
        (["video,out,strokes", "a,./old/,1=a/../old/00003.png"], r"row 2 \(a\): the masks would overwrite .*00003.png"),
        (["video,out,annotations", "a,out,line.json"], r"row 2 \(a\): .*line.json: 'dog' is a line"),
        (["video,out,annotations", "a,out,point.json"], r"row 2 \(a\): .*point.json cannot be read"),
        (["video,out,strokes", "a,out,line.json"], r"row 2 \(a\): .*cannot be read as a label image"),
        (["video,out,annotations", "a,a,a.png"], r"row 2 \(a\): the masks would overwrite .*a, which row 2 reads"),
        (["video,out,annotations", "a,out,a.png", "b,a/,a.png"], r"row 3 \(b\): .* overwrite .*a, which row 2 reads"),
        (["video,out,annotations", "a,b,a.png", "b,out,a.png"], r"row 2 \(a\): .* overwrite .*b, which row 3 reads"),
        (["video,out,annotations", "a,old,a.png", "a,out,1=old/00003.png"], r"row 2 .*00003.png, which row 3 reads"),
        (["video,out,annotations", "a,c.zarr/out,a.png", "c.zarr,out,a.png"], r"row 2 .*c.zarr, which row 3 reads"),
        (["video,out,annotations,method", "a,out,a.png,vos"], r"row 2 \(a\): there is no method 'vos'"),
        (["video,out,annotations,config", "a,out,a.png,k=5;k=x"], r"row 2 \(a\): The setting k cannot be"),
        (['video,out,annotations', '"a,out,a.png'], "cannot be read as a CSV"),
        (["video,out,annotations", "\xe9,out,a.png"], "cannot be read as a CSV"),
    ],
)  # fmt: skip
def test_a_wrong_table_names_the_row(clip, tmp_path, rows, says):
    clip("a")
    clip("b")
    zarr.save_array(tmp_path / "c.zarr", np.zeros((2, 8, 8), np.uint8))
    (tmp_path / "old").mkdir()
    (tmp_path / "old/00003.png").write_bytes((tmp_path / "a.png").read_bytes())
    (tmp_path / "line.json").write_text('{"shapes": [{"label": "dog", "shape_type": "line", "points": []}]}')
    (tmp_path / "point.json").write_text('{"shapes": [{"label": "a", "shape_type": "rectangle", "points": [[3, 3]]}]}')
    (tmp_path / "jobs.csv").write_text("\n".join(rows), encoding="latin-1")
    with pytest.raises(JobsError, match=says):
        read_jobs(tmp_path / "jobs.csv")


def test_no_work_begins_with_a_wrong_table(run, clip, table, tmp_path):
    clip("a")
    result = run("segment-many", table("video,out,annotations", "a,out,a.png", "b,out2,a.png"))
    assert result.exit_code == 1
    assert "Error: jobs.csv, row 3 (b): there is no file or folder" in result.output
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "jobs.report.csv").exists()


def test_folders_may_have_dots_and_hold_other_images(clip, table, tmp_path):
    clip("a")
    (tmp_path / "a.png").rename(tmp_path / "7.png")  # a mask is never called that
    jobs = read_jobs(table("video,out,annotations", "a,2024.05.03,7.png", "a,mouse.1,7.png", "a,.,7.png"))
    assert [job.out.name for job in jobs[:2]] == ["2024.05.03", "mouse.1"]
    assert finish(jobs[0]).state is State.done
    assert len(masks_in(tmp_path / "2024.05.03")) == 4


def test_outlines_of_labelme_are_annotations(clip, table, tmp_path):
    clip("a")
    outline = {"label": "cell", "shape_type": "rectangle", "points": [[20, 30], [60, 70]]}
    content = {"shapes": [outline], "imageWidth": 128, "imageHeight": 96}
    (tmp_path / "a.json").write_text(json.dumps(content))
    (job,) = read_jobs(table("video,out,annotations", "a,out,a.json"))
    assert finish(job).state is State.done
    assert (read_labels(tmp_path / "out/00000.png")[30:71, 20:61] == 1).all()


def test_what_spreadsheets_write_is_read(clip, tmp_path):
    clip("a")
    (tmp_path / "jobs.csv").write_text("video, out ,annotations\r\na,out,0=a.png\r\n,,\r\n", encoding="utf-8-sig")
    (job,) = read_jobs(tmp_path / "jobs.csv")
    assert (job.video, job.out, job.files.masks) == (tmp_path / "a", tmp_path / "out", {0: tmp_path / "a.png"})


def test_masks_are_those_of_segment(run, client, clip, table, tmp_path, drawn):
    clip("a")
    write_mask_png(drawn[1][3], tmp_path / "last.png")
    strokes = np.zeros((96, 128), np.uint8)
    strokes[60, 20:40], strokes[90] = 1, 255
    Image.fromarray(strokes).save(tmp_path / "strokes.png")
    jobs = table(
        "video,out,annotations,strokes,method,config",
        "a,many/plain,a.png; 3=last.png,,,",
        "a,many/strokes,,strokes.png,pml-paper,k=3;refine=none",
    )
    assert [o.state for o in run_jobs(read_jobs(jobs), COMPACT, client)] == [State.done] * 2
    one = partial(run, "segment", tmp_path / "a", "--device", "cpu", "--out")
    one(tmp_path / "one/plain", "--annotations", tmp_path / "a.png", "--annotations", f"3={tmp_path / 'last.png'}")
    one(
        tmp_path / "one/strokes", "--strokes", tmp_path / "strokes.png",
        "--method", "pml-paper", "--config", "k=3", "--config", "refine=none",
    )  # fmt: skip
    for name in ("plain", "strokes"):
        expected = masks_in(tmp_path / "one" / name)
        assert len(expected) == 4
        assert masks_in(tmp_path / "many" / name) == expected
    assert masks_in(tmp_path / "one/plain") != masks_in(tmp_path / "one/strokes")


def test_a_damaged_video_fails_alone_and_the_report_tells(run, three, tmp_path):
    report = "--report", tmp_path / "told/how.csv"
    result = run("segment-many", three, "--workers", 1, "--device", "cpu", "--strict", *report)
    assert result.exit_code == 1
    assert "2 done, 0 skipped, 1 failed" in result.output
    a, b, c = csv.DictReader((tmp_path / "told/how.csv").read_text().splitlines())
    for row in (a, c):
        assert (row["state"], row["frames"], row["error"]) == ("done", "4", "")
        assert float(row["seconds"]) > 0
        assert float(row["seconds_per_frame"]) == pytest.approx(float(row["seconds"]) / 4, abs=1e-3)
    assert (a["video"], c["out"]) == (str(tmp_path / "a"), str(tmp_path / "out/c"))
    assert (b["video"], b["state"], b["frames"], b["seconds"]) == (str(tmp_path / "b"), "failed", "", "")
    assert "3.png" in b["error"]
    assert f"{tmp_path / 'b'}: {b['error']}" in result.output
    assert not (tmp_path / "out/b" / RECORD).exists()


def test_what_is_finished_is_skipped(client, three):
    jobs = read_jobs(three)
    assert {o.job.out.name: o.state for o in run_jobs(jobs, COMPACT, client)} == {
        "a": State.done, "b": State.failed, "c": State.done,
    }  # fmt: skip
    Image.fromarray(np.zeros((96, 128, 3), np.uint8)).save(jobs[1].video / "3.png")
    before = {path: path.stat().st_mtime_ns for path in three.parent.glob("out/[ac]/*.png")}
    found = {o.job.out.name: o for o in run_jobs(jobs, COMPACT, client)}
    assert {name: o.state for name, o in found.items()} == {"a": State.skipped, "b": State.done, "c": State.skipped}
    assert found["a"].frames == 4
    assert found["a"].seconds > 0
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_change_of_anything_that_masks_depend_on_begins_the_job_again(clip, table, drawn):
    clip("a")
    path = table("video,out,annotations", "a,out,a.png")
    (job,) = read_jobs(path)

    def states(job):
        return finish(job).state, finish(job).state

    assert states(job) == (State.done, State.skipped)
    write_mask_png(drawn[1][0] * (drawn[1][0] == 1), path.with_name("a.png"))
    assert states(job) == (State.done, State.skipped)
    assert set(np.unique(read_labels(job.out / "00003.png"))) == {0, 1}
    (job.out / "00002.png").unlink()
    assert states(job) == (State.done, State.skipped)
    job = replace(job, config=replace(job.config, k=3))
    assert states(job) == (State.done, State.skipped)
    (job.out / RECORD).write_text("{}")
    assert states(job) == (State.done, State.skipped)
    Image.fromarray(drawn[0][5]).save(job.video / "3.png")
    assert states(job) == (State.done, State.skipped)
    (job.video / "3.png").unlink()
    assert states(job) == (State.done, State.skipped)
    assert sorted(masks_in(job.out)) == ["00000.png", "00001.png", "00002.png"]  # nothing of the longer video is left
    other = ColourEmbedder()
    other.fingerprint = "colour-2"
    steps = run_job(job, other)
    assert next(steps).t == 0
    steps.close()
    assert not masks_in(job.out).keys() & {"00001.png", "00002.png"}


def test_a_job_that_was_stopped_begins_again_and_had_whole_files_only(clip, table):
    clip("a")
    (job,) = read_jobs(table("video,out,annotations", "a,out,a.png"))
    expected = replace(job, out=job.out.with_name("expected"))
    finish(expected)
    steps = run_job(job, ColourEmbedder())
    assert [next(steps).t for _ in range(2)] == [0, 1]
    steps.close()
    assert masks_in(job.out).items() <= masks_in(expected.out).items()
    assert not (job.out / RECORD).exists()
    assert finish(job).state is State.done
    assert masks_in(job.out) == masks_in(expected.out)


@pytest.mark.parametrize("write", [segment_video, lambda session, folder: export_masks(session.masks, folder)])
def test_masks_that_something_else_wrote_are_not_those_of_the_job(write, clip, table, drawn):
    clip("a")
    (job,) = read_jobs(table("video,out,annotations", "a,out,a.png"))
    finish(job)
    expected = masks_in(job.out)
    write_mask_png(drawn[1][0], job.out / "chart.png")
    assert finish(job).state is State.skipped
    session = Session(open_video(job.video), embedder=ColourEmbedder())
    session.annotate(1, drawn[1][1] == 2, complete=True)
    list(session.propagate())
    list(write(session, job.out) or ())
    assert masks_in(job.out).items() & expected.items() == set()
    assert finish(job).state is State.done
    assert masks_in(job.out).items() >= expected.items()


def test_one_folder_is_worked_on_once_at_a_time(clip, table, caplog):
    clip("a")
    (job,) = read_jobs(table("video,out,annotations", "a,out,a.png"))
    steps = run_job(job, ColourEmbedder())
    next(steps)
    found = []
    other = threading.Thread(target=lambda: found.append(finish(job)))
    other.start()
    other.join(0.3)
    assert not found
    (told,) = (record for record in caplog.records if record.name == "napari_pml.cluster.run_job")
    assert f"Another process works in {job.out}" in told.getMessage()
    assert [mask.t for mask in steps] == [1, 2, 3]
    other.join(10)
    assert [outcome.state for outcome in found] == [State.skipped]


def test_a_folder_that_cannot_be_written_fails_its_job(clip, table, tmp_path):
    clip("a")
    (tmp_path / "file").touch()
    (job,) = read_jobs(table("video,out,annotations", "a,file/out,a.png"))
    outcome = finish(job)
    assert outcome.state is State.failed
    assert "cannot be written" in outcome.error


def test_the_network_is_loaded_once(client, clip, table, monkeypatch):
    loaded = []

    def load(name, device):
        loaded.append(name)
        time.sleep(0.1)
        return ColourEmbedder()

    monkeypatch.setattr(batch, "load_embedder", load)
    clip("a")
    jobs = read_jobs(table("video,out,annotations", *(f"a,out/{n},a.png" for n in range(4))))
    assert [o.state for o in run_jobs(jobs, Network("mine", "cpu"), client)] == [State.done] * 4
    assert loaded == ["mine"]


def test_a_network_that_there_is_not_stops_everything(client, clip, table, tmp_path):
    clip("a")
    jobs = read_jobs(table("video,out,annotations", "a,out,a.png"))
    with pytest.raises(WeightsError, match="no embedder 'vgg'"):
        next(run_jobs(jobs, Network("vgg", "cpu"), client))
    assert not (tmp_path / "out").exists()


def test_it_says_that_it_waits_for_a_worker(clip, table, caplog):
    clip("a")
    jobs = read_jobs(table("video,out,annotations", "a,out,a.png"))
    with in_process() as cluster, Client(cluster, set_as_default=False) as client:
        cluster.scale(0)
        while client.scheduler_info()["workers"]:
            time.sleep(0.01)
        outcomes = []
        waiting = threading.Thread(target=lambda: outcomes.extend(run_jobs(jobs, COMPACT, client)))
        waiting.start()
        waiting.join(0.5)
        assert not outcomes
        (told,) = (record for record in caplog.records if record.name == batch.__name__)
        assert f"Waiting for one: dask worker {cluster.scheduler_address}" in told.getMessage()
        cluster.scale(1)
        waiting.join(60)
    assert [outcome.state for outcome in outcomes] == [State.done]


def test_workers_with_a_gpu_take_one_job_for_each(client, clip, table, monkeypatch):
    at_work, most = [], []

    def slow(job, embedder):
        at_work.append(job)
        time.sleep(0.2)
        most.append(len(at_work))
        at_work.remove(job)
        yield
        return Outcome(job, State.done)

    monkeypatch.setattr(batch, "run_job", slow)
    clip("a")
    jobs = read_jobs(table("video,out,annotations", *(f"a,out/{n},a.png" for n in range(4))))
    with in_process(resources={"GPU": 1}) as cluster, Client(cluster, set_as_default=False) as with_gpu:
        assert len(list(run_jobs(jobs, COMPACT, with_gpu))) == 4
    assert max(most) == 1
    assert len(list(run_jobs(jobs, COMPACT, client))) == 4
    assert max(most) == 2


def test_a_job_that_nobody_wants_any_more_ends(client, clip, table, monkeypatch):
    begun, ended = threading.Event(), threading.Event()

    def endless(job, embedder):
        if job.out.name == "quick":
            return Outcome(job, State.done)
        try:
            while True:
                begun.set()
                time.sleep(0.01)
                yield
        finally:
            ended.set()

    monkeypatch.setattr(batch, "run_job", endless)
    clip("a")
    found = run_jobs(read_jobs(table("video,out,annotations", "a,quick,a.png", "a,endless,a.png")), COMPACT, client)
    assert next(found).job.out.name == "quick"
    assert begun.wait(10)
    found.close()
    assert ended.wait(10)


def test_workers_that_die_do_not_cost_the_batch(clip, table, tmp_path, monkeypatch, caplog):
    for name in ("a", "deadly", "deadly-once", "b"):
        clip(name)
    names = ("a", "deadly", "deadly-once", "b")
    jobs = read_jobs(table("video,out,annotations", *(f"{name},out/{name},{name}.png" for name in names)))
    with local_workers(2) as client:
        client.register_plugin(Deadly())
        found = {o.job.out.name: o for o in run_jobs(jobs, COMPACT, client, retries=1, workers=2)}
    states = {name: outcome.state for name, outcome in found.items()}
    assert states == {"a": State.done, "b": State.done, "deadly-once": State.done, "deadly": State.failed}
    assert "worker died" in found["deadly"].error
    assert masks_in(tmp_path / "out/deadly-once") == masks_in(tmp_path / "out/a")
    assert (tmp_path / "deadly-once.died").exists()
    again = sorted(Path(record.args[0]).name for record in caplog.records if "given out again" in record.message)
    assert again == ["deadly", "deadly-once"]


def test_workers_share_the_cores(monkeypatch):
    monkeypatch.setattr(batch, "CPU_COUNT", 6)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with local_workers(2) as client:
        assert list(client.run(os.getenv, "OMP_NUM_THREADS").values()) == ["3", "3"]
        assert set(client.run(os.getenv, "MKL_NUM_THREADS").values()) == {None}
    assert "OMP_NUM_THREADS" not in os.environ
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with local_workers(1) as client:
        assert list(client.run(os.getenv, "OMP_NUM_THREADS").values()) == ["1"]


def test_dask_of_others_does_not_notice(monkeypatch):
    monkeypatch.setattr(batch, "CONNECT_SECONDS", 0.3)
    for address in ("nowhere", "tcp://127.0.0.1:9"):
        with pytest.raises(ClusterError), running_cluster(address):
            pass
    with local_workers(1):
        assert dask.config.get("scheduler", None) is None
        with pytest.raises(ValueError, match="No clients found"):
            default_client()
    assert dask.config.get("scheduler", None) is None


def test_ctrl_c_keeps_what_is_finished(table, tmp_path, drawn):
    rows = ["video,out,annotations"]
    write_mask_png(drawn[1][0], tmp_path / "first.png")
    for name, n in (("short", 2), ("long", 600)):
        (tmp_path / name).mkdir()
        for t in range(n):
            Image.fromarray(drawn[0][t % 8]).save(tmp_path / name / f"{t}.png", compress_level=1)
        rows.append(f"{name},out/{name},first.png")
    process = subprocess.Popen(
        [sys.executable, "-m", "napari_pml.cli", "segment-many", table(*rows), "--workers", "1", "--device", "cpu"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"TQDM_DISABLE": "1"},
        start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not (tmp_path / "out/long/00002.png").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "finished videos are kept" in errors
    assert "Traceback" not in errors
    assert not alive_in(process.pid)
    (row,) = csv.DictReader((tmp_path / "jobs.report.csv").read_text().splitlines())
    assert (row["video"], row["state"]) == (str(tmp_path / "short"), "done")
    assert not (tmp_path / "out/long" / RECORD).exists()
    for path in tmp_path.glob("out/long/*.png"):
        assert read_labels(path).shape == (96, 128)


def test_mistakes_are_explained(run, clip, table, tmp_path, monkeypatch):
    clip("a")
    jobs = table("video,out,annotations", "a,out,a.png")
    monkeypatch.setattr(batch, "CONNECT_SECONDS", 0.3)
    for args, says in (
        (["--scheduler", "tcp://127.0.0.1:9"], "No scheduler answers at 'tcp://127.0.0.1:9'"),
        (["--scheduler", "nowhere"], "No scheduler answers at 'nowhere'"),
        (["--scheduler", "tcp://127.0.0.1:9", "--workers", "2"], "--workers is for this computer"),
        (["--report", jobs], "would overwrite"),
        (["--report", tmp_path / "a.png"], "would overwrite"),
    ):
        result = run("segment-many", jobs, *args)
        assert result.exit_code == 1
        assert says in " ".join(result.output.split())
        assert "Traceback" not in result.output
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert "pip install 'napari-pml[cluster]'" in run("segment-many", jobs).output
    assert not (tmp_path / "out").exists()


def test_a_report_stays_until_there_is_a_new_one(run, clip, table, tmp_path, monkeypatch):
    clip("a")
    jobs = table("video,out,annotations", "a,out,a.png")
    monkeypatch.setattr(batch, "CONNECT_SECONDS", 0.3)
    others = [tmp_path / "jobs.report.csv", tmp_path / "report.csv"]
    for path in others:
        path.write_text("as it was")
    assert run("segment-many", jobs, "--scheduler", "tcp://127.0.0.1:9").exit_code == 1
    assert run("segment-many", jobs, "--workers", 1, "--device", "cpu", "--embedder", "vgg").exit_code == 1
    assert [path.read_text() for path in others] == ["as it was"] * 2
    assert run("segment-many", jobs, "--workers", 1, "--device", "cpu").exit_code == 0
    assert [path.read_text() == "as it was" for path in others] == [False, True]


def test_a_running_cluster_is_found_by_its_address(run, clip, table, tmp_path):
    clip("a")
    jobs = table("video,out,annotations", "a,out,a.png")
    with LocalCluster(
        1, threads_per_worker=1, processes=False, protocol="tcp", dashboard_address="127.0.0.1:0"
    ) as cluster:
        result = run("segment-many", jobs, "--scheduler", cluster.scheduler_address, "--device", "cpu")
        assert result.exit_code == 0, result.output
        result = run("segment-many", jobs, "--scheduler", cluster.scheduler_address, "--device", "cpu")
    assert "0 done, 1 skipped, 0 failed" in result.output


def test_workers_that_cannot_run_it_are_named(client, clip, table, monkeypatch):
    clip("a")
    jobs = read_jobs(table("video,out,annotations", "a,out,a.png"))

    def broken(name, device):
        raise ImportError("libGL.so.1")

    monkeypatch.setattr(batch, "load_embedder", broken)
    with pytest.raises(ClusterError, match=r"libGL\.so\.1.*same versions"):
        next(run_jobs(jobs, Network("mine", "cpu"), client))


def test_a_worker_that_dies_with_the_network_is_short_of_memory(clip, table):
    clip("a")
    jobs = read_jobs(table("video,out,annotations", "a,out,a.png"))

    def die_when_loading():
        batch.load_embedder = lambda name, device: os.kill(os.getpid(), signal.SIGKILL)

    with local_workers(1) as client:
        client.run(die_when_loading)
        with pytest.raises(ClusterError, match="memory did not suffice"):
            run_jobs(jobs, COMPACT, client, workers=1)


def test_the_command_line_starts_without_dask_and_torch():
    code = "import sys, napari_pml.cli; print([m for m in ('torch', 'dask', 'distributed') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
