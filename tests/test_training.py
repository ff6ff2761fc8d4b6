from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from napari_pml.embedding.compact import CompactNet
from napari_pml.embedding.embedder import load_embedder
from napari_pml.embedding.weights import save_weights
from napari_pml.evaluation.davis import find_sequences
from napari_pml.training.clips import ClipSampler, sample_anchors
from napari_pml.training.losses import (
    modified_triplet_loss,
    soft_nearest_neighbour_loss,
    squared_distances,
    standard_triplet_loss,
)
from napari_pml.training.train import TrainConfig, Trainer, run_training
from napari_pml.types import DatasetError, WeightsError

SMALL = TrainConfig(steps=3, height=64, width=64, clips_per_step=1, anchors=32)


@pytest.fixture
def dataset(tmp_path, drawn):
    frames, masks = drawn
    for kind in ("JPEGImages", "Annotations"):
        (tmp_path / "data" / kind / "480p" / "shapes").mkdir(parents=True)
    for t in range(len(frames)):
        Image.fromarray(frames[t]).save(tmp_path / f"data/JPEGImages/480p/shapes/{t:05d}.jpg")
        Image.fromarray((masks[t] > 0).astype(np.uint8)).save(tmp_path / f"data/Annotations/480p/shapes/{t:05d}.png")
    return tmp_path / "data"


def test_the_triplet_loss_is_by_hand():
    distances = torch.tensor([[0.5, 0.1, 0.3, 2.0], [1.0, 0.2, 0.4, 0.1]])
    anchors = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    pool = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    # anchor 0: nearest positive 0.3, nearest negative 0.1; anchor 1: 0.2 and 0.1
    assert modified_triplet_loss(distances, anchors, pool, 0.0).item() == pytest.approx((0.2 + 0.1) / 2)
    # each anchor for itself: a satisfied one must not pay for another
    assert modified_triplet_loss(distances, anchors[[0, 0]], pool, 0.0).item() == pytest.approx((0.2 + 0) / 2)


def test_the_standard_triplet_loss_is_the_mean_over_all_pairs():
    torch.manual_seed(0)
    distances, margin = 4 * torch.rand(6, 20), 0.7
    anchors, pool = torch.eye(3)[torch.randint(3, (6,))], torch.eye(3)[torch.randint(3, (20,))]
    expected = np.mean(
        [
            np.mean([max(0.0, p - n + margin) for p in row[same].tolist() for n in row[~same].tolist()])
            for row, same in zip(distances, (anchors @ pool.T).bool(), strict=True)
        ]
    )
    assert standard_triplet_loss(distances, anchors, pool, margin).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("loss", "constant"),
    [(standard_triplet_loss, 0.7), (modified_triplet_loss, 0.7), (soft_nearest_neighbour_loss, 0.2)],
)
def test_gradients_are_those_of_the_values(loss, constant):
    torch.manual_seed(1)
    shares = torch.rand(4 + 7, 3, dtype=torch.float64).softmax(1)
    embeddings = torch.randn(4 + 7, 5, dtype=torch.float64, requires_grad=True)

    def value(x):
        unit = torch.nn.functional.normalize(x, dim=1)
        return loss(squared_distances(unit[:4], unit[4:]), shares[:4], shares[4:], constant)

    assert value(embeddings).item() > 0
    assert torch.autograd.gradcheck(value, embeddings)


@pytest.mark.parametrize("triplet_loss", [standard_triplet_loss, modified_triplet_loss])
def test_an_anchor_without_negatives_takes_no_part(triplet_loss):
    distances = torch.rand(2, 3, requires_grad=True)
    anchors, pool = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[1.0, 0.0]] * 3)
    loss = triplet_loss(distances, anchors, pool, 0.7)
    assert loss.item() == 0
    loss.backward()
    assert torch.isfinite(distances.grad).all()


def test_the_soft_nearest_neighbour_loss_is_the_cross_entropy_of_the_vote():
    distances = torch.tensor([[0.0, 2.0]])
    anchor, pool = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    expected = -np.log(1 / (1 + np.exp(-1 / 0.5)))
    assert soft_nearest_neighbour_loss(distances, anchor, pool, 0.5).item() == pytest.approx(expected, rel=1e-5)


def test_distances_are_those_of_euclid():
    a, b = (torch.nn.functional.normalize(torch.randn(n, 8), dim=1) for n in (4, 5))
    assert torch.allclose(squared_distances(a, b), torch.cdist(a, b) ** 2, atol=1e-5)


def test_clips_keep_frames_and_masks_together(dataset):
    """The drawn objects are the only things that are red or blue: colours must tell the shares."""
    sampler = ClipSampler(find_sequences(dataset), (96, 128), 8, seed=1)
    for _ in range(5):
        clip = next(sampler)
        assert clip.frames.shape == (3, 3, 96, 128)
        assert clip.shares.shape == (3, 12 * 16, 2)
        assert torch.allclose(clip.shares.sum(-1), torch.ones(1))
        cells = torch.nn.functional.avg_pool2d(clip.frames, 8).flatten(2)
        greenness = cells[:, 1] - cells[:, [0, 2]].amax(1)
        objects, background = clip.shares[..., 1] == 1, clip.shares[..., 0] == 1
        if cells.std(1).max() > 0.02:  # not one of the grey clips
            assert greenness[objects].mean() < greenness[background].mean()


def test_clips_are_reproducible(dataset):
    one, two = (next(ClipSampler(find_sequences(dataset), (64, 64), 8, seed=7)) for _ in range(2))
    assert torch.equal(one.frames, two.frames)


def test_masks_of_black_and_white_train_too(dataset):
    for path in (dataset / "Annotations/480p/shapes").iterdir():
        Image.fromarray(np.asarray(Image.open(path)) * np.uint8(255)).save(path)
    assert next(ClipSampler(find_sequences(dataset), (64, 64), 8, seed=0)).shares[..., 1].any()


def test_videos_without_objects_are_refused_not_searched_for_ever(dataset, monkeypatch):
    monkeypatch.setattr("napari_pml.training.clips.MAX_TRIES", 20)
    for path in (dataset / "Annotations/480p/shapes").iterdir():
        Image.fromarray(np.zeros((96, 128), np.uint8)).save(path)
    with pytest.raises(DatasetError, match="no object was seen"):
        next(ClipSampler(find_sequences(dataset), (64, 64), 8, seed=0))


def test_anchors_are_drawn_evenly_from_the_labels():
    shares = torch.zeros(100, 2)
    shares[:90, 0] = 1
    shares[90:, 1] = 1
    anchors = sample_anchors(shares, 1000, torch.Generator().manual_seed(0))
    assert 400 < (anchors >= 90).sum() < 600


def test_a_run_writes_weights_that_the_embedder_takes(dataset, tmp_path):
    reports = list(run_training(dataset, tmp_path / "run", SMALL, None, torch.device("cpu")))
    assert [r.step for r in reports] == [1, 2, 3]
    assert all(np.isfinite(r.losses["soft_nearest_neighbour"]) for r in reports)
    trained = load_embedder(str(tmp_path / "run" / "compact.safetensors"), torch.device("cpu"))
    assert trained.fingerprint != load_embedder("compact", torch.device("cpu")).fingerprint
    assert (tmp_path / "run" / "log.csv").read_text().startswith("step,")


def test_only_losses_with_a_weight_are_computed_and_logged(dataset, tmp_path):
    config = replace(SMALL, steps=1, standard_triplet=0.5, modified_triplet=0, soft_nearest_neighbour=0)
    (report,) = run_training(dataset, tmp_path / "run", config, None, torch.device("cpu"))
    assert list(report.losses) == ["standard_triplet"]
    assert (tmp_path / "run" / "log.csv").read_text().startswith("step,standard_triplet,gradient_norm\n")


def test_training_lowers_the_loss(dataset, tmp_path):
    config = TrainConfig(steps=40, height=64, width=64, clips_per_step=1, anchors=64, learning_rate=5e-4)
    torch.manual_seed(0)
    save_weights(CompactNet().trunk.state_dict(), tmp_path / "random.safetensors", "resnet18")
    trainer = Trainer(dataset, tmp_path / "random.safetensors", config, torch.device("cpu"))
    sampler = ClipSampler(find_sequences(dataset), (64, 64), 8, seed=99)
    clips = [next(sampler) for _ in range(12)]

    def loss():
        with torch.no_grad():
            return np.mean([sum(trainer.losses(clip).values()).item() for clip in clips])

    before = loss()
    for _ in range(40):
        trainer.take_step()
    assert loss() < 0.8 * before


def test_a_stopped_run_goes_on_where_it_was(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("napari_pml.training.train.CHECKPOINT_EVERY", 1)
    whole = list(run_training(dataset, tmp_path / "whole", SMALL, None, torch.device("cpu")))
    stopped = run_training(dataset, tmp_path / "stopped", SMALL, None, torch.device("cpu"))
    next(stopped)
    next(stopped)  # the first checkpoint is written before the second step
    stopped.close()
    rest = list(run_training(dataset, tmp_path / "stopped", SMALL, None, torch.device("cpu")))
    assert [r.step for r in rest] == [2, 3]
    assert rest[-1] == whole[-1]


def test_a_run_with_other_settings_is_not_mixed_in(dataset, tmp_path):
    list(run_training(dataset, tmp_path / "run", SMALL, None, torch.device("cpu")))
    with pytest.raises(WeightsError, match="another folder"):
        next(run_training(dataset, tmp_path / "run", TrainConfig(steps=9), None, torch.device("cpu")))


def test_folders_that_are_no_dataset(tmp_path, dataset):
    with pytest.raises(DatasetError, match="JPEGImages"):
        find_sequences(tmp_path)
    (dataset / "Annotations/480p/shapes/00003.png").unlink()
    with pytest.raises(DatasetError, match=r"00003\.png"):
        find_sequences(dataset)


def test_a_trunk_that_does_not_fit(dataset, tmp_path):
    save_weights({"a": torch.zeros(1)}, tmp_path / "other.safetensors", "other")
    with pytest.raises(WeightsError, match="no ResNet-18"):
        next(run_training(dataset, tmp_path / "run", SMALL, tmp_path / "other.safetensors", torch.device("cpu")))
