import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from drawn_video import draw_video
from napari_pml import METHODS, Session, open_video
from napari_pml.cli import app
from napari_pml.embedding.networks.compact import CompactNet
from napari_pml.embedding.weights import about_weights, bundled, load_weights
from napari_pml.methods.mask_head.network import MaskHead
from napari_pml.methods.mask_head.segmentation import MaskHeadPml
from napari_pml.training.clips import Clip
from napari_pml.training.train_mask_head import (
    Lesson,
    MaskHeadTrainConfig,
    MaskHeadTraining,
    mask_loss,
    train_mask_head,
)

SMALL = MaskHeadTrainConfig(steps=3, clips_per_step=1, height=64, width=64, large=0.0)
CPU = torch.device("cpu")


@pytest.fixture
def fresh(tmp_path):
    """The weights of the bundled embedder, without a mask head beside them."""
    path = tmp_path / "fresh" / "compact.safetensors"
    path.parent.mkdir()
    path.write_bytes(bundled("compact").read_bytes())
    return path


@pytest.fixture(scope="module")
def embedder():
    return CompactNet.from_file(bundled("compact"))[0].eval()


def drawn_clip():
    frames, masks = draw_video(3)
    rgb = torch.from_numpy(frames).permute(0, 3, 1, 2) / 255
    return Clip(
        rgb,
        torch.linspace(-1, 1, 3),
        torch.from_numpy(masks.astype(np.int16)),
        torch.empty(0),
        torch.zeros(3, 2, 12, 16),
    )


def lesson(embedder, seed=0, **changes):
    torch.manual_seed(0)
    config = replace(SMALL, **changes)
    return Lesson(MaskHead(embedder.dim), embedder, drawn_clip(), np.random.default_rng(seed), config)


def test_the_loss_is_smaller_the_better_the_mask():
    truth = torch.zeros(20, 20, dtype=torch.int64)
    truth[5:15, 5:15] = 1
    right = torch.where(truth == 1, 6.0, -6.0)[None]
    near = right.clone()
    near[0, 5:15, 5:8] = -6
    losses = [mask_loss(logits, truth).item() for logits in (right, near, -right)]
    assert losses == sorted(losses)
    assert losses[0] < 0.02


@pytest.mark.parametrize("seed", range(6))
def test_a_lesson_has_losses_of_everything_that_it_segments(embedder, seed):
    found = lesson(embedder, seed, complete=0.5, propagated=1.0).losses()
    assert 2 <= len(found) <= 4
    assert all(loss.isfinite() and loss.requires_grad for loss in found)


def test_objects_that_are_not_segmented_are_rivals_where_they_truly_are(embedder):
    one = next(x for x in (lesson(embedder, seed) for seed in range(20)) if x.n_shown == 1)
    assert one.n_labels == 3
    logits = torch.full((1, 96, 128), -5.0)
    mask = one.mask(logits)
    assert set(np.unique(mask).tolist()) == {0, 2}
    assert (mask == 2).sum() == (one.truth[0] == 2).sum()
    truth = torch.from_numpy(one.truth[0].astype(np.int64))
    right, rival = (torch.where(truth == label, 5.0, -5.0)[None] for label in (1, 2))
    assert one.loss(right, 0) < 0.1 < one.loss(rival, 0)


def test_only_sure_cells_of_its_own_mask_become_references(embedder):
    found = lesson(embedder)
    shares = found.shares(found.truth[0])
    everything = found.references([(0, shares, None)])
    sure = torch.zeros(96, 128)
    sure[:, :64] = 1
    assert len(everything.labels) == 12 * 16
    assert len(found.references([(0, shares, sure)]).labels) == 12 * 8
    assert len(found.references([]).labels) == 0


def test_training_lowers_the_loss(dataset, fresh):
    torch.manual_seed(0)
    embedder, fingerprint = CompactNet.from_file(fresh)
    config = replace(SMALL, steps=40, learning_rate=3e-3)
    training = MaskHeadTraining([dataset], embedder, fingerprint, MaskHead(embedder.dim), config)

    @torch.no_grad()
    def loss():
        lessons = [
            Lesson(training.net, embedder, training.samplers[0][n], np.random.default_rng(n), config) for n in range(4)
        ]
        return np.mean([loss.item() for lesson in lessons for loss in lesson.losses()])

    before = loss()
    for _ in range(30):
        training.take_step()
    assert loss() < 0.9 * before


def test_a_stopped_run_goes_on_where_it_was(dataset, fresh, tmp_path, monkeypatch):
    monkeypatch.setattr("napari_pml.training.loop.CHECKPOINT_EVERY", 1)
    whole = list(train_mask_head([dataset], tmp_path / "whole", SMALL, fresh, CPU))
    stopped = train_mask_head([dataset], tmp_path / "stopped", SMALL, fresh, CPU)
    next(stopped)
    next(stopped)  # the first checkpoint is written before the second step
    stopped.close()
    assert list(train_mask_head([dataset], tmp_path / "stopped", SMALL, fresh, CPU)) == whole[1:]
    whole_state, state = (load_weights(tmp_path / run / "mask-head.safetensors")[0] for run in ("whole", "stopped"))
    assert all(torch.equal(value, state[name]) for name, value in whole_state.items())


def test_the_command_line_trains_a_head_that_is_used_beside_its_embedder(stills, fresh, tmp_path, drawn):
    run = tmp_path / "run"
    command = ["train", stills, "--network", "mask-head", "--from", fresh, "--steps", "1", "--fold", "4", "--out", run]
    result = CliRunner().invoke(app, [*map(str, command), "--device", "cpu"])
    assert result.exit_code == 0, result.output
    with (run / "log.csv").open(newline="") as file:
        assert next(csv.reader(file)) == ["step", "mask", "gradient_norm"]
    assert '"fold": 4' in about_weights(run / "mask-head.safetensors")["config"]
    session = Session(open_video(drawn[0][:2]), METHODS["pml"], embedder=str(run / "compact.safetensors"))
    assert isinstance(session._segmenter.method, MaskHeadPml)
    session.annotate(0, drawn[1][0], complete=True)
    assert len(list(session.propagate())) == 2


def test_training_starts_from_the_head_beside_the_embedder(dataset, fresh, tmp_path):
    start = fresh.with_name("mask-head.safetensors")
    start.write_bytes(bundled("mask-head").read_bytes())
    still = replace(SMALL, steps=1, learning_rate=0.0, weight_decay=0.0)
    list(train_mask_head([dataset], tmp_path / "run", still, fresh, CPU))
    before, after = (load_weights(path)[0] for path in (start, tmp_path / "run" / "mask-head.safetensors"))
    assert all(torch.equal(value, after[name]) for name, value in before.items())
