import csv
import json
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from drawn_video import draw_video
from napari_pml import BACKGROUND, METHODS, PmlConfig, PmlError, Session, open_video
from napari_pml.cli import app
from napari_pml.evaluation import interactive, robot_study
from napari_pml.evaluation.curve import area_under_curve, at_interactions, at_seconds, rounds_that_lose
from napari_pml.evaluation.curve_plot import plot_curves
from napari_pml.evaluation.davis import find_sequences
from napari_pml.evaluation.interactive import Interaction, Protocol, TrueMasks, interact
from napari_pml.evaluation.robot_study import Study


@pytest.fixture
def hard():
    """The drawn video with a dark rim around the disc, which strokes in its middle do not cover."""
    frames, masks = draw_video()
    y, x = np.mgrid[:96, :128]
    for t in range(len(frames)):
        frames[t][(masks[t] == 1) & (np.hypot(y - 60, x - 30 - 3 * t) > 11)] = 30
    return frames, masks


@pytest.fixture
def make(colour_embedder):
    def make(frames, config=None):
        return Session(open_video(frames), config, embedder=colour_embedder)

    return make


def truth_of(masks):
    return TrueMasks(lambda t: masks[t], len(masks))


@pytest.mark.parametrize(  # what is hard for retrieval is not for a trained network
    ("method", "tool", "reached"),
    [("pml", "scribble", 0.9), ("pml", "click", 0.9), ("pml-paper", "scribble", 0.7), ("pml-paper", "click", 0.9)],
)
def test_masks_get_better_by_interaction(make, hard, tool, method, reached):
    frames, masks = hard
    session = make(frames, METHODS[method])
    first, second = interact(session, truth_of(masks), Protocol(tool=tool, interactions=2), 0)
    assert (first.number, second.number) == (1, 2)
    assert first.j_and_f < 0.6
    assert second.j_and_f > reached
    assert session.stale_frames() == []


def test_an_interaction_tells_what_it_took(make, drawn):
    found = list(interact(make(drawn[0]), truth_of(drawn[1]), Protocol(interactions=3), 2))
    assert found[0].frame == 2
    assert all(0 < i.seconds_to_frame <= i.seconds_to_video for i in found)
    np.testing.assert_allclose([i.seconds_in_all for i in found], np.cumsum([i.seconds_to_video for i in found]))


def test_the_worst_frame_is_corrected_and_what_was_painted_stays(make, hard):
    frames, masks = hard
    session, painted, worst = make(frames), {}, 0
    for interaction in interact(session, truth_of(masks), Protocol(interactions=4), 0):
        for t, earlier in painted.items():
            now = session.annotations.frames[t]
            assert (now[earlier > 0] == earlier[earlier > 0]).all()
        new = [t for t, a in session.annotations.frames.items() if not np.array_equal(a, painted.get(t))]
        assert new == [interaction.frame]
        assert interaction.frame == worst
        painted = dict(session.annotations.frames)
        by_frame = [
            np.mean([_jaccard(session.masks[t].labels == i, masks[t] == i) for i in (1, 2)]) for t in range(len(masks))
        ]
        worst = int(np.argmin(by_frame))


def _jaccard(mask, truth):
    return (mask & truth).sum() / (mask | truth).sum()


def test_every_frame_and_every_object_counts(make, drawn):
    """Annotated with the whole truth, every mask is right; then one of two objects is gone from one frame of 8."""
    frames, masks = drawn
    truth = masks.copy()
    truth[5][truth[5] == 2] = 0
    session = make(frames)
    for t in range(8):
        session.annotate(t, masks[t], complete=True)
    (found,) = interact(session, truth_of(truth), Protocol(interactions=1), 0)
    assert found.frame == 0
    # the strokes took frame 0's completeness away; all other frames are as they were
    first = session.masks[0].labels
    j = (np.mean([_jaccard(first == i, masks[0] == i) for i in (1, 2)]) + 6 + 0.5) / 8
    assert found.j == pytest.approx(j)


def test_a_perfect_result_ends_it(make):
    frames = np.zeros((4, 16, 16, 3), np.uint8)
    frames[:, :, 8:] = 255
    masks = np.zeros((4, 16, 16), np.uint16)
    masks[:, :, 8:] = 1
    session = make(frames, PmlConfig(refine="none", k_strokes=1))
    found = list(interact(session, truth_of(masks), Protocol(background=True), 0))
    assert 1 <= len(found) < 8
    assert (found[-1].j, found[-1].f) == (1, 1)


def test_objects_that_come_later_are_found_and_frames_may_be_empty(make, drawn):
    frames, masks = drawn[0].copy(), drawn[1].copy()
    blank = np.full((96, 128, 3), (60, 150, 70), np.uint8)
    frames[0], masks[0] = blank, 0  # nothing to begin on
    late = masks[1] == 2
    frames[1][late], masks[1][late] = (60, 150, 70), 0
    truth = truth_of(masks)
    assert truth.object_ids == [1, 2]
    (start,) = truth.starts(1)
    assert start == 1
    session = make(frames)
    found = list(interact(session, truth, Protocol(interactions=4), start))
    assert 2 in session.annotations.object_ids
    assert found[-1].j_and_f > found[0].j_and_f


@pytest.mark.parametrize(("n", "expected"), [(1, [0]), (2, [0, 4]), (3, [0, 2, 5]), (20, list(range(8)))])
def test_starts_are_spread_over_the_video(drawn, n, expected):
    assert truth_of(drawn[1]).starts(n) == expected


def test_starts_go_on_from_the_beginning_when_the_end_is_empty(drawn):
    masks = drawn[1].copy()
    masks[3:] = 0
    assert truth_of(masks).starts(2) == [0]


def test_truth_that_does_not_fit_is_refused(make, drawn):
    frames, masks = drawn
    with pytest.raises(PmlError, match="no object"):
        truth_of(masks * 0)
    with pytest.raises(PmlError, match="8 frames, but there are 7"):
        next(interact(make(frames), truth_of(masks[:7]), Protocol(), 0))
    with pytest.raises(PmlError, match="96 x 128"):
        next(interact(make(frames), truth_of(masks[:, :50]), Protocol(), 0))


def test_the_background_is_marked_if_asked_for(make, drawn):
    for background in (False, True):
        session = make(drawn[0])
        next(interact(session, truth_of(drawn[1]), Protocol(background=background), 0))
        assert (session.annotations.frames[0] == BACKGROUND).any() == background


def run_of(*points):
    return [Interaction(n, 0, score, score, 0.0, 1.0, 1.0, seconds) for n, (seconds, score) in enumerate(points, 1)]


def test_true_masks_are_the_ceiling(make, hard):
    frames, masks = hard
    ceiling, strokes = (
        next(interact(make(frames), truth_of(masks), Protocol(tool=tool, interactions=1), 0))
        for tool in ("mask", "scribble")
    )
    assert ceiling.j_and_f > max(0.95, strokes.j_and_f)


def test_pixels_that_were_right_before_and_are_wrong_after_count_as_spoilt(drawn, monkeypatch):
    masks = drawn[1]
    shown = [[np.zeros_like(m) for m in masks], [m.copy() for m in masks], [m.copy() for m in masks]]
    shown[0][3][:] = masks[3]
    shown[1][3][:10, :20] = 7
    first, second = (interactive._spoilt(shown[i], shown[i + 1], truth_of(masks)) for i in (0, 1))
    assert first == pytest.approx(200 / masks.size)
    assert second == 0


def test_rounds_that_lose_by_hand():
    runs = [run_of((1, 0.5), (2, 0.47), (3, 0.8)), run_of((1, 0.5), (2, 0.49))]
    assert rounds_that_lose(runs) == pytest.approx(1 / 3)
    assert rounds_that_lose([run_of((1, 1.0))]) == 0


def test_curves_over_time_by_hand():
    run = run_of((10, 0.8), (30, 1.0))
    np.testing.assert_allclose(at_seconds(run, np.array([0, 5, 10, 20, 30, 60])), [0, 0.4, 0.8, 0.9, 1, 1])
    assert area_under_curve(run, 40) == pytest.approx((10 * 0.4 + 20 * 0.9 + 10 * 1) / 40)
    assert area_under_curve(run, 20) == pytest.approx((10 * 0.4 + 10 * 0.85) / 20)
    assert area_under_curve(run, 5) == pytest.approx(0.2)


def test_a_run_that_ended_early_keeps_its_last_value():
    runs = [run_of((1, 0.5), (2, 1.0)), run_of((1, 0.1), (2, 0.2), (3, 0.3))]
    assert at_interactions(runs, "j", 3).tolist() == [[0.5, 1, 1], [0.1, 0.2, 0.3]]


def test_curves_of_perfect_runs_are_drawn():
    svg = plot_curves([run_of((1, 1.0))])
    ElementTree.fromstring(svg)
    assert "nan" not in svg


@pytest.fixture
def dataset(tmp_path, drawn):
    """Two short sequences in DAVIS layout; reversed in time, the second is another video."""
    for name, order in (("forth", slice(0, 4)), ("back", slice(7, 3, -1))):
        for kind, arrays, suffix in (("JPEGImages", drawn[0], "jpg"), ("Annotations", drawn[1], "png")):
            folder = tmp_path / "data" / kind / "480p" / name
            folder.mkdir(parents=True)
            for t, array in enumerate(arrays[order]):
                Image.fromarray(array.astype(np.uint8)).save(folder / f"{t:05d}.{suffix}")
    return tmp_path / "data"


@pytest.fixture
def run_study(dataset, tmp_path, colour_embedder):
    def run_study(interactions=2, starts=1):
        protocol = Protocol(interactions=interactions, starts=starts)
        study = Study(dataset, tmp_path / "out", protocol, PmlConfig(), colour_embedder)
        return study.run(find_sequences(dataset))

    return run_study


def test_a_study_goes_on_where_it_was_stopped(run_study, colour_embedder):
    first = next(run_study(starts=2))
    assert [run[0].frame for run in first.runs] == [0, 2]
    colour_embedder.calls = 0
    again = list(run_study(starts=2))
    assert [o.sequence for o in again] == ["back", "forth"]
    assert again[0] == first
    assert colour_embedder.calls == 2 * 4  # two sessions on the four frames of "forth" alone


def test_a_sequence_whose_true_masks_changed_is_measured_again(run_study, dataset, tmp_path):
    before = list(run_study())
    for path in (dataset / "Annotations/480p/back").iterdir():
        Image.fromarray(np.roll(np.asarray(Image.open(path)), 20, 1)).save(path)
    back, forth = run_study()
    assert back.runs[0][-1].j < before[0].runs[0][-1].j
    assert forth == before[1]
    path = tmp_path / "out/sequences/back.json"
    record = json.loads(path.read_text())
    del record["content"]  # as earlier versions wrote it
    path.write_text(json.dumps(record | {"runs": []}))
    assert len(next(run_study()).runs) == 1


def test_results_of_other_settings_are_not_mixed(run_study, tmp_path):
    list(run_study())
    with pytest.raises(PmlError, match="interactions was 2, now it is 3"):
        next(run_study(interactions=3))
    (tmp_path / "out/sequences/back.json").write_text("{")
    with pytest.raises(PmlError, match="Remove it"):
        next(run_study())


@pytest.mark.parametrize("kind", ["damaged", "crash"])
def test_a_failed_sequence_does_not_lose_the_others(run_study, dataset, monkeypatch, kind):
    if kind == "damaged":
        (dataset / "JPEGImages/480p/back/00002.jpg").write_bytes(b"no picture")
    else:
        measure = robot_study.interact
        broken = iter([lambda *args: 1 / 0])
        monkeypatch.setattr(robot_study, "interact", lambda *args: next(broken, measure)(*args))
    back, forth = run_study()
    assert back.error is not None
    assert not back.runs
    assert "back failed" in back.describe()
    assert ("ZeroDivisionError" in back.describe()) == (kind == "crash")
    assert len(forth.runs[0]) == 2
    monkeypatch.undo()
    (dataset / "JPEGImages/480p/back/00002.jpg").write_bytes((dataset / "JPEGImages/480p/back/00001.jpg").read_bytes())
    assert [o.error for o in run_study()] == [None, None]


def test_the_command_writes_table_summary_and_picture(dataset, tmp_path):
    out = tmp_path / "out"
    args = [
        "robot",
        dataset,
        "--out",
        out,
        "--tool",
        "click",
        "--starts",
        "1",
        "--method",
        "pml-paper",
        "--interactions",
        "2",
        "--device",
        "cpu",
    ]
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader((out / "curve.csv").read_text().splitlines()))
    assert [(row["sequence"], row["number"]) for row in rows] == [
        ("back", "1"), ("back", "2"), ("forth", "1"), ("forth", "2"),
    ]  # fmt: skip
    summary = json.loads((out / "summary.json").read_text())
    assert summary["settings"]["tool"] == "click"
    assert summary["settings"]["k_strokes"] == 1
    last = [float(row["j_and_f"]) for row in rows if row["number"] == "2"]
    assert summary["mean"]["j_and_f_last"] == pytest.approx(np.mean(last))
    assert summary["interactions"][1]["j_and_f"] == pytest.approx(np.mean(last))
    assert 0 < summary["mean"]["area_under_curve"] <= 1
    picture = ElementTree.parse(out / "curve.svg").getroot()
    assert len(picture.findall(".//{http://www.w3.org/2000/svg}circle")) == 2


def test_the_command_reports_what_failed_and_keeps_the_rest(dataset, tmp_path):
    (dataset / "JPEGImages/480p/back/00002.jpg").write_bytes(b"no picture")
    args = ["robot", dataset, "--out", tmp_path / "out", "--interactions", "1", "--device", "cpu"]
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    assert result.exit_code == 1
    assert "back failed" in result.output
    assert "Traceback" not in result.output
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert list(summary["sequences"]) == ["forth"]
    assert list(summary["failed"]) == ["back"]
