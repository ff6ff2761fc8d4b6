import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import zarr

from drawn_video import ColourEmbedder, jaccard
from napari_pml import BACKGROUND, METHODS, PmlError, Project, Session, open_video
from napari_pml.embedding.networks.side_network import OBJECT, SideNetwork, brought_up, class_balanced_cross_entropy
from napari_pml.methods.osvos.fine_tuning import PATIENCE, FineTuning
from napari_pml.methods.osvos.osvos import OsvosConfig

QUICK = OsvosConfig(steps=24, learning_rate=3e-4, refine="none")


@pytest.fixture
def make(drawn):
    def make(config=QUICK, frames=drawn[0], **options):
        return Session(open_video(frames), config, embedder=ColourEmbedder(), **options)

    return make


def stroke(label, y, x, shape=(96, 128)):
    labels = np.zeros(shape, np.uint16)
    labels[y - 2 : y + 3, x - 8 : x + 8] = label
    return labels


def test_the_loss_is_by_hand():
    logits = torch.tensor([[[0.0, 1.0], [-1.0, 2.0]]])
    is_object = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    shares = torch.stack([1 - is_object, is_object])
    # three negatives weigh 1/4 each, the positive 3/4: 3/2 together
    negatives = math.log(2) + math.log(1 + math.exp(-1)) + math.log(1 + math.exp(2))
    by_hand = (negatives / 4 + math.log(1 + math.exp(-1)) * 3 / 4) / 1.5
    assert class_balanced_cross_entropy(logits, shares).item() == pytest.approx(by_hand, rel=1e-6)


def test_what_is_not_annotated_has_no_loss():
    chance = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(2, 6, 8, generator=chance), torch.randint(3, (6, 8), generator=chance)
    shares = torch.nn.functional.one_hot(labels, 3).permute(2, 0, 1).float()
    shares[:, :, 4:] = 0
    logits_there = logits.clone()
    logits_there[:, :, 4:] = 50
    assert class_balanced_cross_entropy(logits, shares) == class_balanced_cross_entropy(logits_there, shares)
    assert class_balanced_cross_entropy(logits, torch.zeros_like(shares)).item() == 0


def test_every_scale_is_brought_up_to_where_it_belongs():
    """Maps that hold the position at which the trunk's convolutions are centred must agree where all are inside."""
    height, width = 64, 96
    sides = []
    for stride in (2, 4, 8, 16):
        first = 1 if stride == 2 else 3
        y = first + stride * torch.arange(height // stride).float()
        x = first + stride * torch.arange(width // stride).float()
        sides.append(torch.stack(torch.meshgrid(y, x, indexing="ij"))[None])
    for side in brought_up(sides):
        torch.testing.assert_close(side[..., 1:-7, 1:-7], sides[0][..., 1:-7, 1:-7])


@pytest.mark.parametrize("corner", [(14, 15), (14, 105), (80, 15), (80, 105)])
def test_a_disc_is_found_where_it_is(corner):
    """In frames whose sides are no multiples of any stride."""
    y, x = np.mgrid[:95, :121]
    disc = np.hypot(y - corner[0], x - corner[1]) < 11
    frames = np.full((2, 95, 121, 3), (60, 120, 60), np.uint8)
    frames[:, disc] = (210, 60, 50)
    session = Session(open_video(frames), QUICK, embedder=ColourEmbedder())
    session.annotate(0, disc.astype(np.uint16), complete=True)
    found = session.segment(1).labels == 1
    assert jaccard(found, disc) > 0.8
    centre = np.argwhere(found).mean(0)
    assert np.abs(centre - corner).max() < 1


def test_learning_lowers_the_loss(make, drawn):
    session = make()
    session.annotate(0, drawn[1][0], complete=True)
    losses = [progress.loss for progress in session.learn()]
    assert len(losses) == QUICK.steps
    assert np.mean(losses[-6:]) < np.mean(losses[:6]) / 2


def test_learning_says_how_far_it_is_and_may_be_stopped_anywhere(make, drawn):
    straight, stopped = make(), make()
    for session in (straight, stopped):
        session.annotate(0, drawn[1][0], complete=True)
    progress = list(straight.learn())
    assert [p.done for p in progress] == list(range(1, 25))
    assert {p.total for p in progress} == {24}
    for _ in range(3):
        running = stopped.learn()
        for _ in range(5):
            next(running)
        running.close()
    assert len(list(stopped.learn())) == 24 - 15
    assert (straight.segment(5).labels == stopped.segment(5).labels).all()
    assert list(stopped.learn()) == []


def test_learning_ends_when_nothing_is_gained(drawn):
    net = SideNetwork.from_file()[0].with_outputs([0])
    checks = np.where(np.indices((16, 16)).sum(0) % 2, 1, BACKGROUND).astype(np.uint16)  # cannot be told apart
    tuning = FineTuning(net, [1], [(torch.zeros(3, 16, 16), checks)], 1, 500, 1e-3)
    assert 2 * PATIENCE <= len(list(tuning)) < 8 * PATIENCE


def test_frames_do_not_depend_on_each_other(make, drawn):
    session = make()
    session.annotate(0, drawn[1][0], complete=True)
    forwards = {mask.t: mask.labels for mask in session.propagate(0)}
    session.masks.clear()
    session.annotations = session.annotations.renewed()
    backwards = {mask.t: mask.labels for mask in session.propagate(7)}
    assert all((forwards[t] == backwards[t]).all() for t in range(8))


def test_scores_are_shares(make, drawn):
    session = make()
    session.annotate(0, drawn[1][0], complete=True)
    list(session.learn())
    scores = session._segmenter.method.segment(3, [])
    assert scores.object_ids == (BACKGROUND, 1, 2)
    assert scores.values.shape == (3, 48, 64)
    torch.testing.assert_close(scores.values.sum(0), torch.ones(48, 64))


def test_two_objects_are_told_apart(make, drawn):
    session = make(replace(QUICK, steps=50))
    session.annotate(0, drawn[1][0], complete=True)
    found = session.segment(4).labels
    for label in (1, 2):
        assert jaccard(found == label, drawn[1][4] == label) > 0.85


def test_strokes_are_enough(make, drawn):
    session = make(replace(QUICK, steps=100))
    session.annotate(4, stroke(1, 60, 42))
    found, disc = session.segment(4).labels == 1, drawn[1][4] == 1
    assert jaccard(found, disc) > 0.5  # what nobody painted is in doubt
    assert (found & ~disc).sum() < 0.05 * disc.sum()


def test_no_embedding_is_computed_that_is_not_needed(make, drawn):
    session = make(replace(QUICK, steps=2))
    session.annotate(0, drawn[1][0], complete=True)
    assert list(session.prepare()) == []
    list(session.propagate())
    assert session.embedder.calls == 0


def test_a_further_annotation_takes_fewer_steps_and_undo_none(make, drawn):
    session = make()
    session.annotate(0, drawn[1][0], complete=True)
    assert len(list(session.learn())) == 24
    before = session.segment(6).labels
    session.annotate(5, stroke(2, 32, 100))
    progress = list(session.learn())
    assert len(progress) == 6
    assert (progress[0].done, progress[0].total) == (25, 30)
    after = session.segment(6).labels
    session.annotate(5, np.zeros((96, 128), int))
    assert list(session.learn()) == []
    assert (session.segment(6).labels == before).all()
    session.annotate(5, stroke(2, 32, 100))
    assert (session.segment(6).labels == after).all()


def test_a_new_object_does_not_begin_anew(make, drawn):
    session = make()
    session.annotate(0, np.where(drawn[1][0] == 1, 1, 0), complete=True)
    list(session.learn())
    session.annotate(5, drawn[1][5], complete=True)
    assert len(list(session.learn())) == 6
    assert session._segmenter.method.segment(6, []).object_ids == (BACKGROUND, 1, 2)


def test_the_order_of_annotations_does_not_matter(make, drawn):
    found = []
    for order in ((0, 5), (5, 0)):
        session = make(replace(QUICK, steps=8))
        for t in order:
            session.annotate(t, drawn[1][t], complete=True)
            list(session.learn())
        found.append(session.segment(3).labels)
    assert (found[0] == found[1]).all()


def test_without_learning_one_object_is_what_stands_out(make, drawn):
    session = make(replace(QUICK, steps=0))
    session.annotate(0, np.where(drawn[1][0] == 1, 1, 0), complete=True)
    assert list(session.learn()) == []
    frame = torch.from_numpy(session.video.rgb(4)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        parent = SideNetwork.from_file()[0].eval()(frame)[0, OBJECT].sigmoid()
    torch.testing.assert_close(session._segmenter.method.segment(4, []).values[1], parent)
    session.annotate(0, drawn[1][0], complete=True)
    with pytest.raises(PmlError, match="Set the steps to 1 or more"):
        session.segment(4)


def test_only_background(make):
    session = make()
    session.annotate(0, np.full((96, 128), BACKGROUND), complete=True)
    assert not session.segment(3).labels.any()


def test_references_of_other_videos_are_refused(make, drawn):
    session, other = make(), make()
    other.annotate(0, drawn[1][0], complete=True)
    session.transfer_from(other)
    with pytest.raises(PmlError, match="OSVOS cannot learn from other videos"):
        list(session.learn())


def test_a_reopened_project_does_not_learn_again(make, drawn, tmp_path):
    config = replace(QUICK, steps=8)
    project = Project.create(tmp_path / "a.pml.zarr", open_video(drawn[0]))
    session = make(config, project=project)
    session.annotate(0, drawn[1][0], complete=True)
    session.annotate(5, stroke(2, 32, 100))
    assert len(list(session.learn())) == 10
    mask = session.segment(3).labels
    project.close()
    again = make(None, project=Project.open(project.path))
    assert list(again.learn()) == []
    again.masks.clear()
    assert (again.segment(3).labels == mask).all()
    again.annotate(5, stroke(2, 34, 100))
    assert len(list(again.learn())) == 2  # the first frame is learned still
    again.project.close()


def test_what_was_learned_goes_along_to_another_project(make, drawn, tmp_path):
    session = make(replace(QUICK, steps=3))
    session.annotate(0, drawn[1][0], complete=True)
    list(session.learn())
    project = Project.create(tmp_path / "a.pml.zarr", session.video)
    session.keep_in(project)
    project.close()
    again = make(None, project=Project.open(project.path))
    assert list(again.learn()) == []
    again.project.close()


def test_a_look_at_another_method_leaves_what_was_learned(make, drawn, tmp_path):
    config = replace(QUICK, steps=3)
    project = Project.create(tmp_path / "a.pml.zarr", open_video(drawn[0]))
    session = make(config, project=project)
    session.annotate(0, drawn[1][0], complete=True)
    assert len(list(session.learn())) == 3
    session.config = METHODS["pml"]
    session.segment(3)
    session.config = config
    assert list(session.learn()) == []
    session.config = METHODS["pml"]
    session.segment(3)
    project.close()
    again = make(None, project=Project.open(project.path))
    elsewhere = Project.create(tmp_path / "b.pml.zarr", again.video)
    again.keep_in(elsewhere)
    elsewhere.close()
    again = make(config, project=Project.open(elsewhere.path))
    assert list(again.learn()) == []
    again.project.close()


def test_what_was_learned_is_found_in_a_project_of_an_earlier_version(make, drawn, tmp_path):
    project = Project.create(tmp_path / "a.pml.zarr", open_video(drawn[0]))
    session = make(replace(QUICK, steps=3), project=project)
    session.annotate(0, drawn[1][0], complete=True)
    list(session.learn())
    project.close()
    learned = zarr.open_group(project.path / "learned", mode="r+")
    learned.attrs["names"] = list(learned.attrs["names"])  # without their methods
    again = make(None, project=Project.open(project.path))
    assert list(again.learn()) == []
    again.project.close()


def test_learning_that_was_not_saved_to_its_end_is_done_again(make, drawn, tmp_path, monkeypatch):
    project = Project.create(tmp_path / "a.pml.zarr", open_video(drawn[0]))
    session = make(replace(QUICK, steps=3), project=project)
    session.annotate(0, drawn[1][0], complete=True)

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(zarr.core.attributes.Attributes, "put", killed)
    with pytest.raises(KeyboardInterrupt):
        list(session.learn())
    monkeypatch.undo()
    project.close()
    again = make(None, project=Project.open(project.path))
    assert len(list(again.learn())) == 3
    again.project.close()


def test_other_outlines_need_no_learning(make, drawn):
    session = make()
    session.annotate(0, drawn[1][0], complete=True)
    assert list(session.learn())
    session.config = replace(session.config, refine="none")
    assert list(session.learn()) == []
    assert session.stale_frames() == list(range(len(drawn[0])))
