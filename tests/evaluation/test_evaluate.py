import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from drawn_video import ColourEmbedder
from napari_pml.cli import app
from napari_pml.embedding.registry import EMBEDDERS
from napari_pml.evaluation.davis import find_sequences
from napari_pml.evaluation.measures import evaluate_masks
from napari_pml.evaluation.semi_supervised import make_setup, run_dataset
from napari_pml.io.label_images import read_labels
from napari_pml.methods.pml.pml import PmlConfig


def write_sequence(root, name, frames, masks):
    for kind, arrays in (("JPEGImages", frames), ("Annotations", masks)):
        folder = root / kind / "480p" / name
        folder.mkdir(parents=True)
        for t, array in enumerate(arrays):
            Image.fromarray(array.astype(np.uint8)).save(folder / f"{t:05d}.png")


@pytest.fixture
def data(tmp_path, drawn):
    """Two sequences: one with two objects, one with both of them as one, in black and white."""
    frames, masks = drawn
    write_sequence(tmp_path / "data", "both", frames, (masks > 0) * 255)
    write_sequence(tmp_path / "data", "two", frames, masks)
    return tmp_path / "data"


@pytest.fixture
def embedded(monkeypatch):
    """How many frames the stand-in network "colour" has embedded so far."""
    embedders = []

    def make(device):
        embedders.append(ColourEmbedder())
        return embedders[-1]

    monkeypatch.setitem(EMBEDDERS, "colour", make)
    return lambda: sum(embedder.calls for embedder in embedders)


@pytest.fixture
def run(data, tmp_path, embedded):
    """Call the command; return it with what it printed."""

    def run(*args, code=0):
        command = ["evaluate", data, "--out", tmp_path / "out", "--embedder", "colour", "--device", "cpu", *args]
        result = CliRunner().invoke(app, [str(arg) for arg in command])
        assert result.exit_code == code, result.output
        return result.output

    return run


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def rows(out):
    with (out / "results.csv").open() as file:
        return list(csv.DictReader(file))


def summary(out):
    return json.loads((out / "summary.json").read_text())


def test_figures_are_those_of_the_masks_that_lie_beside_them(run, out, data):
    output = run()
    table = {(row["sequence"], row["object"]): row for row in rows(out)}
    assert list(table) == [("both", "1"), ("two", "1"), ("two", "2"), ("mean", "")]
    for sequence in find_sequences(data):
        masks = [read_labels(out / "masks" / sequence.name / path.name) for path in sequence.masks]
        truth = [sequence.mask(t) for t in range(8)]
        evaluation = evaluate_masks(masks, truth)
        assert evaluation.j_and_f > 0.8
        for object_id, region, boundary in zip(
            evaluation.object_ids, evaluation.region, evaluation.boundary, strict=True
        ):
            row = table[sequence.name, str(object_id)]
            assert float(row["j_mean"]) == pytest.approx(region.mean(), abs=1e-4)
            assert float(row["f_mean"]) == pytest.approx(boundary.mean(), abs=1e-4)
            assert float(row["j_recall"]) == (region > 0.5).mean()
            assert float(row["j_decay"]) == pytest.approx(region[:2].mean() - region[-2:].mean(), abs=1e-4)
    assert f"J&F {float(table['mean', '']['j_and_f']):.3f}" in output


def test_every_object_counts_once_in_the_mean(run, out):
    run()
    *objects, mean = rows(out)
    for name in ("j_mean", "j_recall", "j_decay", "f_mean", "f_recall", "f_decay", "j_and_f"):
        assert float(mean[name]) == pytest.approx(np.mean([float(row[name]) for row in objects]), abs=1e-4)
        assert summary(out)["mean"][name] == float(mean[name])
    assert 0 < summary(out)["mean"]["seconds_per_frame"] < 10


def test_settings_and_chosen_sequences(run, out):
    run("--method", "pml-paper", "--config", "k=3", "--config", "adaptation=false", "--sequences", "two")
    assert list(summary(out)["sequences"]) == ["two"]
    config = summary(out)["setup"]["config"]
    assert (config["votes"], config["k"], config["adaptation"]) == ("hard", 3, False)


def test_a_second_call_takes_what_is_finished(run, out, embedded):
    run()
    before, n_embedded = rows(out), embedded()
    run("--remark", "Only the remark is new.")
    assert embedded() == n_embedded
    assert rows(out) == before
    assert "Only the remark is new." in (out / "report.html").read_text()


@pytest.mark.parametrize("change", ["settings", "network", "record", "mask", "truth", "frame"])
def test_what_no_longer_holds_is_computed_again(run, out, data, drawn, embedded, monkeypatch, change):
    run("--sequences", "two")
    n_embedded, args = embedded(), []
    if change == "settings":
        args = ["--config", "k=3"]
    elif change == "network":
        monkeypatch.setattr(ColourEmbedder, "fingerprint", "colour-2")
    elif change == "record":
        (out / "sequences/two.json").write_text('{"sequence": "tw')
    elif change == "truth":
        Image.fromarray(np.roll(drawn[1][4], 9, 1).astype(np.uint8)).save(data / "Annotations/480p/two/00004.png")
    elif change == "frame":
        Image.fromarray(drawn[0][3]).save(data / "JPEGImages/480p/two/00004.png")
    else:
        (out / "masks/two/00004.png").unlink()
    run("--sequences", "two", *args)
    assert embedded() == n_embedded + 8
    assert (out / "masks/two/00004.png").exists()


def test_a_stopped_evaluation_goes_on_where_it_was(data, out, embedded):
    sequences = find_sequences(data)
    setup = make_setup(data, sequences, PmlConfig(), "colour", "cpu")
    stopped = run_dataset(sequences, out, setup)
    first = next(stopped)
    stopped.close()
    assert embedded() == 8
    finished = list(run_dataset(sequences, out, setup))
    assert embedded() == 16
    assert [result.sequence for result in finished] == ["both", "two"]
    assert finished[0].scores == first.scores
    assert finished[0].seconds == first.seconds


def test_a_failure_stands_in_the_report_and_costs_no_other_sequence(run, out, data, embedded):
    good = (data / "Annotations/480p/both/00005.png").read_bytes()
    (data / "Annotations/480p/both/00005.png").write_bytes(b"no image")
    assert "both: " in run(code=1)
    assert "00005.png cannot be read" in summary(out)["failed"]["both"]
    assert "both failed" in (out / "report.html").read_text()
    assert list(summary(out)["sequences"]) == ["two"]
    (data / "Annotations/480p/both/00005.png").write_bytes(good)
    n_embedded = embedded()
    run()
    assert embedded() == n_embedded + 8  # of the one that had failed
    assert list(summary(out)["sequences"]) == ["both", "two"]


def test_a_mistake_of_ours_in_one_sequence_costs_no_other(run, out, monkeypatch):
    def crash(masks, truth):
        if truth[0].max() == 1:
            raise RuntimeError("this should not happen")
        return evaluate_masks(masks, truth)

    monkeypatch.setattr("napari_pml.evaluation.semi_supervised.evaluate_masks", crash)
    run(code=1)
    assert summary(out)["failed"] == {"both": "RuntimeError: this should not happen"}
    assert not (out / "sequences/both.json").exists()


def test_sequences_with_nothing_to_score_are_left_out(run, out, data, drawn):
    frames, masks = drawn
    write_sequence(data, "late", frames, masks * (np.arange(8) > 0)[:, None, None])
    write_sequence(data, "short", frames[:2], masks[:2])
    output = run()
    assert "late: Its first mask is empty" in output
    assert set(summary(out)["skipped"]) == {"late", "short"}
    assert "late is left out" in (out / "report.html").read_text()
    assert list(summary(out)["sequences"]) == ["both", "two"]


def test_nothing_at_all_to_score(run, out, data, drawn):
    write_sequence(data, "short", drawn[0][:2], drawn[1][:2])
    assert "No sequence could be scored. short: It has less than three frames" in run("--sequences", "short", code=1)
    assert not (out / "report.html").exists()


def test_a_place_that_cannot_be_written_is_refused_before_any_work(run, out, embedded):
    out.write_text("a file, not a folder")
    assert "cannot be written" in run(code=1)
    assert embedded() == 0


def test_processes_find_what_one_process_finds(run, out):
    run("--embedder", "compact")
    alone = rows(out)
    shutil.rmtree(out)
    run("--embedder", "compact", "--jobs", "2")
    for row, other in zip(alone, rows(out), strict=True):
        assert {**row, "seconds_per_frame": 0} == {**other, "seconds_per_frame": 0}


def test_ctrl_c_ends_every_process_and_keeps_what_is_finished(tmp_path, drawn, out):
    frames, masks = (np.concatenate([array] * 30) for array in drawn)
    write_sequence(tmp_path / "data", "short", *drawn)
    write_sequence(tmp_path / "data", "long", frames.repeat(3, 1).repeat(3, 2), masks.repeat(3, 1).repeat(3, 2))
    process = subprocess.Popen(
        [sys.executable, "-m", "napari_pml.cli", "evaluate", tmp_path / "data", "--out", out, "--jobs", "2",
         "--device", "cpu"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"TQDM_DISABLE": "1"},
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while not (out / "sequences/short.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)  # ends only when its processes, which hold the pipe, have ended
    assert process.returncode == 130
    assert "finished sequences are kept" in errors
    assert [path.name for path in (out / "sequences").iterdir()] == ["short.json"]
