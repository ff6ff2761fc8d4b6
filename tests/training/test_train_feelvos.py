import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from drawn_video import jaccard
from napari_pml import METHODS, Session, open_video
from napari_pml.cli import app
from napari_pml.embedding.registry import load_embedder
from napari_pml.embedding.weights import about_weights, bundled, load_weights, save_weights
from napari_pml.errors import ExportError, WeightsError
from napari_pml.methods.feelvos.network import FeelvosNet
from napari_pml.methods.matching import NOBODY
from napari_pml.training.train_feelvos import (
    MAX_OBJECTS,
    FeelvosTrainConfig,
    FeelvosTraining,
    bootstrapped_cross_entropy,
    displaced,
    sample,
    strokes,
    train_feelvos,
)

pytestmark = pytest.mark.slow

SMALL = FeelvosTrainConfig(steps=3, clips=3, clips_per_step=1, height=64, width=64)


@pytest.fixture
def fresh(tmp_path):
    """The weights of the bundled embedder, without a FEELVOS network beside them."""
    path = tmp_path / "fresh" / "compact.safetensors"
    path.parent.mkdir()
    path.write_bytes(bundled("compact").read_bytes())
    return path


@pytest.fixture
def another(tmp_path, fresh):
    """The weights of an embedder of one's own training."""
    path = tmp_path / "another" / "compact.safetensors"
    path.parent.mkdir()
    save_weights(load_weights(fresh)[0], path, "compact", steps="7")
    return path


def begin(dataset, fresh, config):
    torch.manual_seed(0)
    embedder = load_embedder(str(fresh), torch.device("cpu"))
    return FeelvosTraining([dataset], embedder, FeelvosNet(embedder.dim), config)


def labels_with_a_disc():
    y, x = torch.meshgrid(torch.arange(60.0), torch.arange(80.0), indexing="ij")
    return (torch.hypot(y - 30, x - 40) < 15).long()


def test_the_loss_is_that_of_the_hardest_pixels():
    scores = torch.tensor([[[0.9, 0.5, 0.2, 0.8]], [[0.1, 0.5, 0.8, 0.2]]])
    labels = torch.tensor([[0, 0, 0, 1]])
    losses = -np.log([0.9, 0.5, 0.2, 0.2])
    assert bootstrapped_cross_entropy(scores, labels, 1.0).item() == pytest.approx(losses.mean(), rel=1e-4)
    assert bootstrapped_cross_entropy(scores, labels, 0.5).item() == pytest.approx(losses[2:].mean(), rel=1e-4)
    assert bootstrapped_cross_entropy(scores, labels, 0.01).item() == pytest.approx(losses[2], rel=1e-4)


def test_fewer_pixels_count_as_training_proceeds(dataset, fresh):
    training = begin(dataset, fresh, replace(SMALL, steps=100))
    shares = []
    for training.step in (0, 25, 50, 99):
        shares.append(training._share_that_counts)
    assert shares == pytest.approx([1, 0.575, 0.15, 0.15])


def test_a_sparse_reference_keeps_something_of_every_label():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 500)
    sizes = []
    for _ in range(20):
        given = sample(rng, labels, 1.0)
        assert set(labels[given]) == {0, 1, 2, 3}
        sizes.append(given.sum())
    assert min(sizes) < 200
    assert sample(rng, labels, 0.0).all()


def test_a_displaced_mask_is_nearly_the_same_and_hardly_ever_equal():
    rng, labels = np.random.default_rng(0), labels_with_a_disc()
    found = [displaced(rng, labels, 2) for _ in range(30)]
    overlaps = [jaccard((mask == 1).numpy(), (labels == 1).numpy()) for mask in found]
    assert 0.5 < np.median(overlaps) < 0.98
    assert all(set(mask.unique().tolist()) <= {0, 1} for mask in found)


def test_strokes_are_thin_and_true():
    rng, labels = np.random.default_rng(0), labels_with_a_disc()
    for _ in range(10):
        mask = strokes(rng, labels, 2)
        painted = mask != NOBODY
        assert torch.equal(mask[painted], labels[painted])
        assert painted.float().mean() < 0.2


def test_clips_keep_labels_without_gaps_that_the_reference_shows(stills, fresh):
    training = begin(stills, fresh, replace(SMALL, height=96, width=128))
    for number in range(3):
        clip = training.clip(number)
        assert clip.frames.dtype == torch.uint8
        assert clip.embeddings.shape == (3, 12, 16, 64)
        assert set(clip.labels.unique().tolist()) <= set(clip.labels[0].unique().tolist())
        assert sorted(clip.labels[0].unique().tolist()) == list(range(int(clip.labels[0].max()) + 1))
        assert clip.labels.max() <= MAX_OBJECTS
        assert training.clip(number) is clip


def test_training_lowers_the_loss(dataset, fresh):
    training = begin(dataset, fresh, replace(SMALL, steps=40, learning_rate=3e-3))

    @torch.no_grad()
    def loss():
        return np.mean([training.loss(training.clip(n), np.random.default_rng(n)).item() for n in range(3)])

    before = loss()
    for _ in range(25):
        training.take_step()
    training.step = 0  # as many pixels count as at first
    assert loss() < 0.85 * before


def test_a_stopped_run_goes_on_where_it_was(dataset, fresh, tmp_path, monkeypatch):
    monkeypatch.setattr("napari_pml.training.loop.CHECKPOINT_EVERY", 1)
    device = torch.device("cpu")
    whole = list(train_feelvos([dataset], tmp_path / "whole", SMALL, fresh, device))
    stopped = train_feelvos([dataset], tmp_path / "stopped", SMALL, fresh, device)
    next(stopped)
    next(stopped)  # the first checkpoint is written before the second step
    stopped.close()
    rest = list(train_feelvos([dataset], tmp_path / "stopped", SMALL, fresh, device))
    assert [report.step for report in rest] == [2, 3]
    assert rest == whole[1:]
    whole_state, state = (load_weights(tmp_path / run / "feelvos.safetensors")[0] for run in ("whole", "stopped"))
    assert all(torch.equal(value, state[name]) for name, value in whole_state.items())


def test_the_command_line_trains_a_network_that_is_used_beside_its_embedder(dataset, fresh, tmp_path, drawn):
    command = ["train", str(dataset), "--network", "feelvos", "--from", str(fresh), "--steps", "1"]
    result = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "run"), "--device", "cpu"])
    assert result.exit_code == 0, result.output
    with (tmp_path / "run" / "log.csv").open(newline="") as file:
        assert next(csv.reader(file)) == ["step", "cross_entropy", "gradient_norm"]
    session = Session(open_video(drawn[0]), METHODS["feelvos"], embedder=str(tmp_path / "run" / "compact.safetensors"))
    session.annotate(0, drawn[1][0], complete=True)
    assert len(list(session.propagate())) == 8


def test_training_starts_from_the_network_beside_the_embedder(dataset, fresh, tmp_path):
    still = replace(SMALL, steps=1, learning_rate=0.0, weight_decay=0.0)
    device = torch.device("cpu")
    list(train_feelvos([dataset], tmp_path / "first", still, fresh, device))
    list(train_feelvos([dataset], tmp_path / "second", replace(still, seed=5), tmp_path / "first" / fresh.name, device))
    first, second = (load_weights(tmp_path / run / "feelvos.safetensors")[0] for run in ("first", "second"))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    other = train_feelvos([dataset], tmp_path / "third", replace(still, seed=5), fresh, device)
    list(other)
    third, _ = load_weights(tmp_path / "third" / "feelvos.safetensors")
    assert not torch.equal(first["embedding.weight"], third["embedding.weight"])


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_an_embedder_of_ones_own_in_the_folder_is_not_written_over(dataset, another):
    before = contents(another.parent)
    with pytest.raises(WeightsError, match=r"compact\.safetensors .* Use another folder"):
        next(train_feelvos([dataset], another.parent, SMALL, None, torch.device("cpu")))
    assert contents(another.parent) == before


def test_a_run_beside_the_embedder_that_it_starts_from(dataset, another):
    before = another.read_bytes()
    list(train_feelvos([dataset], another.parent, replace(SMALL, steps=1), another, torch.device("cpu")))
    assert another.read_bytes() == before
    embedder = load_embedder(str(another), torch.device("cpu"))
    assert about_weights(another.with_name("feelvos.safetensors"))["embedder"] == embedder.fingerprint


def test_a_run_on_another_embedder_is_not_mixed_in(dataset, fresh, another, tmp_path):
    list(train_feelvos([dataset], tmp_path / "run", replace(SMALL, steps=1), fresh, torch.device("cpu")))
    before = contents(tmp_path / "run")
    (tmp_path / "run" / "compact.safetensors").unlink()  # it is the checkpoint that knows
    with pytest.raises(WeightsError, match="another folder to start again"):
        list(train_feelvos([dataset], tmp_path / "run", replace(SMALL, steps=1), another, torch.device("cpu")))
    before.pop("compact.safetensors")
    assert contents(tmp_path / "run") == before


def test_a_checkpoint_that_does_not_name_its_embedder_is_gone_on_from(dataset, fresh, tmp_path):
    run = tmp_path / "run"
    list(train_feelvos([dataset], run, replace(SMALL, steps=1), fresh, torch.device("cpu")))
    state = torch.load(run / "checkpoint.pt", weights_only=True)
    del state["about"]
    torch.save(state, run / "checkpoint.pt")
    assert list(train_feelvos([dataset], run, replace(SMALL, steps=1), fresh, torch.device("cpu"))) == []


def test_an_embedder_that_cannot_be_copied_beside_the_network(dataset, fresh, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with pytest.raises(WeightsError, match=r"\.safetensors file"):
        next(train_feelvos([dataset], tmp_path / "run", SMALL, tmp_path / f"{fresh}@2x", torch.device("cpu")))
    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(ExportError, match="Make room"):
        next(train_feelvos([dataset], tmp_path / "run", SMALL, fresh, torch.device("cpu")))
    assert list((tmp_path / "run").iterdir()) == []
