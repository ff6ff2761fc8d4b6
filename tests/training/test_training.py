import csv
import shutil
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from drawn_video import write_video
from napari_pml.embedding.networks import deeplab
from napari_pml.embedding.networks.resnet import ResNet18Trunk
from napari_pml.embedding.registry import load_embedder
from napari_pml.embedding.weights import load_weights, save_weights
from napari_pml.errors import DatasetError, WeightsError
from napari_pml.evaluation.davis import find_sequences
from napari_pml.training import clips
from napari_pml.training.clips import ClipSampler, sample_anchors
from napari_pml.training.curve import plot_log
from napari_pml.training.loop import denormals_flushed
from napari_pml.training.losses import (
    modified_triplet_loss,
    soft_nearest_neighbour_loss,
    squared_distances,
    standard_triplet_loss,
)
from napari_pml.training.material import find_annotated_clips, only_fold, without_fold
from napari_pml.training.train import TrainConfig, Trainer, run_training
from small_networks import random_resnet101

pytestmark = pytest.mark.slow

SMALL = TrainConfig(steps=3, height=64, width=64, clips_per_step=1, anchors=32)


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


def cell_colours(clip):
    """Return the mean colour of each cell, (3, 3, h * w), and whether this is not one of the grey clips."""
    cells = torch.nn.functional.avg_pool2d(clip.frames, 8).flatten(2)
    return cells, (cells.amax(1) - cells.amin(1)).max() > 0.1


@pytest.mark.parametrize("mix", [{}, {"near": 1.0}, {"composed": 1.0}, {"twins": 1.0}])
@pytest.mark.parametrize("material", ["dataset", "stills"])
def test_clips_keep_frames_and_masks_together(material, mix, request):
    """The drawn objects are the only things that are red or blue: colours must tell the shares."""
    sampler = ClipSampler([find_annotated_clips(request.getfixturevalue(material))], (96, 128), 8, seed=1, **mix)
    for n in range(5):
        clip = sampler[n]
        assert clip.frames.shape == (3, 3, 96, 128)
        assert clip.shares.shape[:2] == (3, 12 * 16)
        assert torch.allclose(clip.shares.sum(-1), torch.ones(1))
        assert clip.shares[..., 1:].sum((0, 1)).all(), "a label that is not on the clip"
        assert clip.t.abs().max() <= 1
        objects, background = clip.shares[..., 1:].sum(-1) == 1, clip.shares[..., 0] == 1
        cells, coloured = cell_colours(clip)
        greenness = cells[:, 1] - cells[:, [0, 2]].amax(1)
        if coloured:
            assert (greenness[objects] < greenness[background].mean()).float().mean() > 0.95


def test_every_label_of_a_clip_is_kept(dataset, stills):
    assert ClipSampler([find_annotated_clips(dataset)], (96, 128), 8, seed=0)[0].shares.shape[-1] == 2
    most = max(ClipSampler([find_annotated_clips(stills)], (96, 128), 8, seed=0)[n].shares.shape[-1] for n in range(10))
    assert most == 3


def test_the_frames_of_a_still_move(stills):
    sampler = ClipSampler([find_annotated_clips(stills)], (96, 128), 8, seed=0)
    for n in range(3):
        shares = sampler[n].shares
        assert not torch.equal(shares[0], shares[1])
        assert not torch.equal(shares[1], shares[2])


def test_frames_that_are_near_in_time(tmp_path, drawn):
    write_video(tmp_path, "long", np.concatenate([drawn[0]] * 4), np.concatenate([drawn[1]] * 4))
    apart, close = (ClipSampler([find_annotated_clips(tmp_path)], (64, 64), 8, seed=0, near=n) for n in (0.0, 1.0))
    spread = [[np.ptp(sampler[n].t.numpy()) for n in range(20)] for sampler in (apart, close)]
    frame = 2 / 31
    assert max(spread[1]) <= 10.01 * frame
    assert min(spread[1]) >= 1.99 * frame
    assert max(spread[0]) > 15 * frame


def test_an_object_of_another_video_moves_over_the_clip(tmp_path):
    """The first video is black with a red object, the second with a blue one: blue must be the second label."""
    for name, colour in (("red", (250, 0, 0)), ("blue", (0, 0, 250))):
        masks = np.zeros((4, 96, 128), np.uint8)
        masks[:, 30:60, 40:80] = 1
        write_video(tmp_path, name, masks[..., None] * np.uint8(colour), masks)
    sampler = ClipSampler([find_annotated_clips(tmp_path)], (96, 128), 8, seed=0, composed=1.0)
    found = 0
    for n in range(12):
        clip = sampler[n]
        cells, coloured = cell_colours(clip)
        if clip.shares.shape[-1] == 2 or not coloured:
            continue  # wholly hidden or outside, or grey
        redness = cells[:, 0] - cells[:, 2]
        first, second = (redness[clip.shares[..., label] == 1].mean() for label in (1, 2))
        found += bool((first - second).abs() > 0.1)
    assert found > 3


def test_a_twin_is_an_object_of_its_own(dataset):
    plain, twins = (
        ClipSampler([find_annotated_clips(dataset)], (96, 128), 8, seed=0, twins=share) for share in (0.0, 1.0)
    )
    # Both drawn objects have one label here and together reach none of the borders.
    assert all(plain[n].shares.shape[-1] == 2 for n in range(6))
    assert sum(twins[n].shares.shape[-1] == 3 for n in range(6)) >= 4


def test_a_clip_does_not_depend_on_those_before(dataset):
    one, two = (ClipSampler([find_annotated_clips(dataset)], (64, 64), 8, seed=7) for _ in range(2))
    _, third = one[0], one[2]
    assert torch.equal(third.frames, two[2].frames)
    assert not torch.equal(one[0].frames, third.frames)
    assert not torch.equal(third.frames, ClipSampler([find_annotated_clips(dataset)], (64, 64), 8, seed=8)[2].frames)


def test_every_folder_has_its_share(dataset, stills):
    sampler = ClipSampler([find_annotated_clips(dataset), find_annotated_clips(stills)], (96, 128), 8, seed=0)
    of_stills = sum(sampler[n].shares.shape[-1] == 3 for n in range(30))
    assert 4 < of_stills < 26


def test_videos_of_which_few_frames_are_annotated(dataset):
    masks = sorted((dataset / "Annotations/480p/shapes").iterdir())
    for path in (*masks[:2], *masks[3:5], *masks[6:]):
        path.unlink()
    (annotated,) = find_annotated_clips(dataset)
    assert [path.stem for path in annotated.images] == ["00002", "00005"]
    assert annotated.times == pytest.approx((2 * 2 / 7 - 1, 2 * 5 / 7 - 1))
    assert ClipSampler([[annotated]], (64, 64), 8, seed=0)[0].shares[..., 1].any()
    masks[5].unlink()
    (annotated,) = find_annotated_clips(dataset)
    clip = ClipSampler([[annotated]], (64, 64), 8, seed=0)[0]
    assert not torch.equal(clip.shares[0], clip.shares[1])


def test_frames_are_in_the_order_of_their_numbers(dataset):
    for folder in ("JPEGImages", "Annotations"):
        for path in (dataset / folder / "480p/shapes").iterdir():
            path.rename(path.with_stem(f"frame{int(path.stem) + 5}"))
    (annotated,), (sequence,) = find_annotated_clips(dataset), find_sequences(dataset)
    assert annotated.images == sequence.frames
    assert [path.stem for path in annotated.masks] == [f"frame{n}" for n in range(5, 13)]


def test_grey_and_16_bit_frames_are_stretched_as_videos_are(tmp_path, drawn):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    Image.fromarray(drawn[0][0, ..., 0].astype(np.uint16) * 16 + 1000).save(tmp_path / "images/a.tif")
    Image.fromarray(drawn[1][0].astype(np.uint8)).save(tmp_path / "masks/a.png")
    frame, scale, labels = find_annotated_clips(tmp_path)[0].read(0)
    rgb = scale.to_rgb(frame)
    assert rgb.shape == (96, 128, 3)
    assert rgb.min() == 0
    assert rgb.max() == pytest.approx(1)
    assert set(np.unique(labels)) == {0, 1, 2}


def test_masks_of_black_and_white_train_too(dataset):
    for path in (dataset / "Annotations/480p/shapes").iterdir():
        Image.fromarray(np.asarray(Image.open(path)) * np.uint8(255)).save(path)
    assert ClipSampler([find_annotated_clips(dataset)], (64, 64), 8, seed=0)[0].shares[..., 1].any()


def test_videos_without_objects_are_refused_not_searched_for_ever(dataset, monkeypatch):
    monkeypatch.setattr("napari_pml.training.clips.MAX_TRIES", 20)
    for path in (dataset / "Annotations/480p/shapes").iterdir():
        Image.fromarray(np.zeros((96, 128), np.uint8)).save(path)
    with pytest.raises(DatasetError, match="no object was seen"):
        ClipSampler([find_annotated_clips(dataset)], (64, 64), 8, seed=0)[0]


def test_mistakes_in_a_folder_are_explained(dataset, stills, tmp_path):
    with pytest.raises(DatasetError, match="expected JPEGImages"):
        find_annotated_clips(tmp_path / "gone")
    Image.fromarray(np.ones((5, 5), np.uint8)).save(stills / "masks/00000.png")
    with pytest.raises(DatasetError, match=r"5 x 5 .* 96 x 128"):
        find_annotated_clips(stills)[0].read(0)
    (stills / "images/00000.jpg").write_bytes(b"nothing")
    with pytest.raises(DatasetError, match="cannot be read"):
        find_annotated_clips(stills)[0].read(0)
    (stills / "images/00000.jpg").unlink()
    with pytest.raises(DatasetError, match="no frame of the name 00000"):
        find_annotated_clips(stills)
    for path in (dataset / "Annotations/480p/shapes").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match="not a single mask"):
        find_annotated_clips(dataset)


def test_anchors_are_drawn_evenly_from_the_objects_and_the_background():
    shares = torch.zeros(3, 100, 4)
    shares[0, :80, 0] = shares[0, 80:85, 1] = shares[0, 85:90, 2] = shares[0, 90:, 3] = 1
    shares[1:, :50, 0] = shares[1:, 50:75, 1] = shares[1:, 75:, 2] = 1  # the third object is not in the pool
    anchors = sample_anchors(shares, 2000, torch.Generator().manual_seed(0))
    drawn = torch.bincount(shares[0, anchors].argmax(1), minlength=4)
    assert drawn.tolist() == pytest.approx([1000, 500, 500, 0], abs=100)


def test_a_run_writes_weights_that_the_embedder_takes(dataset, tmp_path):
    reports = list(run_training([dataset], tmp_path / "run", SMALL, None, torch.device("cpu")))
    assert [r.step for r in reports] == [1, 2, 3]
    assert all(np.isfinite(r.losses["soft_nearest_neighbour"]) for r in reports)
    trained = load_embedder(str(tmp_path / "run" / "compact.safetensors"), torch.device("cpu"))
    assert trained.fingerprint != load_embedder("compact", torch.device("cpu")).fingerprint
    assert (tmp_path / "run" / "log.csv").read_text().startswith("step,")


def test_training_goes_on_from_weights_trained_before(dataset, tmp_path):
    list(run_training([dataset], tmp_path / "first", SMALL, None, torch.device("cpu")))
    weights = tmp_path / "first" / "compact.safetensors"
    trainer = Trainer([dataset], weights, SMALL, torch.device("cpu"))
    state, _ = load_weights(weights)
    assert all(torch.equal(value, state[name]) for name, value in trainer.net.state_dict().items())


def test_the_curve_shows_every_loss_over_the_steps(tmp_path):
    (tmp_path / "log.csv").write_text("step,up,down,gradient_norm\n10,0.1,0.9,99\n20,0.2,0.5,99\n30,0.3,0.4,99\n")
    plot_log(tmp_path / "log.csv", tmp_path / "curve.svg")
    svg = ElementTree.parse(tmp_path / "curve.svg").getroot()
    name = "{http://www.w3.org/2000/svg}"
    texts = [text.text for text in svg.iter(f"{name}text")]
    assert {"up 0.300", "down 0.400", "step", "30"} <= set(texts)
    up, _, down, _ = (
        np.array([[float(n) for n in point.split(",")] for point in line.get("d").partition("L")[2].split()])
        for line in svg.iter(f"{name}path")
    )
    assert (np.diff(up[:, 0]) > 0).all()
    assert (np.diff(up[:, 1]) < 0).all()  # pictures count rows downwards
    assert (np.diff(down[:, 1]) > 0).all()
    assert down[0, 1] > 0


@pytest.mark.parametrize(("odd", "shown"), [("nan", {"a"}), ("inf", {"a"}), ("0.0", {"a", "b"})])
def test_the_curve_leaves_out_what_is_not_finite(tmp_path, odd, shown):
    """A training goes on after a step without a gradient: its picture must not end it."""
    (tmp_path / "log.csv").write_text(f"step,a,b,gradient_norm\n10,0.5,{odd},1\n20,{odd},{odd},nan\n30,0.5,{odd},1\n")
    plot_log(tmp_path / "log.csv", tmp_path / "curve.svg")
    svg = (tmp_path / "curve.svg").read_text()
    assert {name for name in ("a", "b") if f">{name} 0." in svg} == shown
    assert "nan" not in svg
    assert "inf" not in svg
    (tmp_path / "log.csv").write_text(f"step,a,gradient_norm\n10,{odd},1\n")
    plot_log(tmp_path / "log.csv", tmp_path / "curve.svg")
    ElementTree.parse(tmp_path / "curve.svg")


def test_only_losses_with_a_weight_are_computed_and_logged(dataset, tmp_path):
    config = replace(SMALL, steps=1, standard_triplet=0.5, modified_triplet=0, soft_nearest_neighbour=0)
    (report,) = run_training([dataset], tmp_path / "run", config, None, torch.device("cpu"))
    assert list(report.losses) == ["standard_triplet"]
    assert (tmp_path / "run" / "log.csv").read_text().startswith("step,standard_triplet,gradient_norm\n")


@pytest.mark.parametrize(("name", "steps", "share"), [("resnet18.safetensors", 40, 0.8), ("resnet101.pth", 8, 0.95)])
def test_training_lowers_the_loss(dataset, tmp_path, name, steps, share, monkeypatch):
    """Of the paper's network with one of the 23 blocks of its third stage, which would take minutes."""
    config = TrainConfig(steps=steps, height=64, width=64, clips_per_step=1, anchors=64, learning_rate=5e-4)
    torch.manual_seed(0)
    if name.endswith(".pth"):
        monkeypatch.setitem(deeplab.DEPTHS, "layer3", 1)
        torch.save(random_resnet101(), tmp_path / name)
    else:
        save_weights(ResNet18Trunk().state_dict(), tmp_path / name, "resnet18")
    trainer = Trainer([dataset], tmp_path / name, config, torch.device("cpu"))
    sampler = ClipSampler([find_annotated_clips(dataset)], (64, 64), 8, seed=99)
    clips = [sampler[n] for n in range(steps // 4)]

    def loss():
        with torch.no_grad():
            return np.mean([trainer.losses(clip)["modified_triplet"].item() for clip in clips])

    before = loss()
    for _ in range(steps):
        trainer.take_step()
    assert loss() < share * before


def test_a_stopped_run_goes_on_where_it_was(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("napari_pml.training.loop.CHECKPOINT_EVERY", 1)
    whole = list(run_training([dataset], tmp_path / "whole", SMALL, None, torch.device("cpu")))
    stopped = run_training([dataset], tmp_path / "stopped", SMALL, None, torch.device("cpu"))
    next(stopped)
    next(stopped)  # the first checkpoint is written before the second step
    stopped.close()
    rest = list(run_training([dataset], tmp_path / "stopped", SMALL, None, torch.device("cpu")))
    assert [r.step for r in rest] == [2, 3]
    assert rest[-1] == whole[-1]


def test_the_log_has_a_row_for_every_ten_steps(dataset, tmp_path):
    config = TrainConfig(steps=12, height=32, width=32, clips_per_step=1, anchors=8)
    reports = list(run_training([dataset], tmp_path, config, None, torch.device("cpu")))
    with (tmp_path / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["10", "12"]
    for row, part in zip(rows, (reports[:10], reports[10:]), strict=True):
        expected = np.mean([report.losses["modified_triplet"] for report in part])
        assert float(row["modified_triplet"]) == pytest.approx(expected, abs=1e-4)
    assert (tmp_path / "curve.svg").exists()


def test_a_run_with_other_settings_or_data_is_not_mixed_in(dataset, stills, tmp_path):
    list(run_training([dataset], tmp_path / "run", SMALL, None, torch.device("cpu")))
    for data, config in ((dataset, TrainConfig(steps=9)), (stills, SMALL)):
        with pytest.raises(WeightsError, match="another folder"):
            next(run_training([data], tmp_path / "run", config, None, torch.device("cpu")))


def test_a_run_with_another_start_or_data_of_the_same_name_is_not_mixed_in(dataset, tmp_path):
    """An old checkpoint, which knows of neither, is gone on from."""
    config, run, cpu = replace(SMALL, steps=1), tmp_path / "run", torch.device("cpu")
    list(run_training([dataset], run, config, None, cpu))
    moved = shutil.copytree(dataset, tmp_path / "moved" / dataset.name)
    assert list(run_training([moved], run, config, None, cpu)) == []
    with pytest.raises(WeightsError, match=r"start was bundled, .* another folder"):
        list(run_training([dataset], run, config, run / "compact.safetensors", cpu))
    mask = dataset / "Annotations/480p/shapes/00003.png"
    Image.fromarray(np.roll(np.asarray(Image.open(mask)), 1)).save(mask)
    with pytest.raises(WeightsError, match=r"content was .* another folder"):
        list(run_training([dataset], run, config, None, cpu))
    state = torch.load(run / "checkpoint.pt", weights_only=True)
    earlier = {"about": {}, "config": state["config"] | {"dim": 64}}
    torch.save(state | earlier, run / "checkpoint.pt")
    assert list(run_training([dataset], run, config, None, cpu)) == []


def test_weights_of_a_finished_run_stay_as_they_are(dataset, tmp_path):
    """Even those of an earlier version, whose bytes were in another order: masks know their fingerprint."""
    config = replace(SMALL, steps=1)
    list(run_training([dataset], tmp_path, config, None, torch.device("cpu")))
    weights = tmp_path / "compact.safetensors"
    save_file(load_file(weights), weights, metadata={"architecture": "compact"})
    before = weights.read_bytes()
    assert list(run_training([dataset], tmp_path, config, None, torch.device("cpu"))) == []
    assert weights.read_bytes() == before


def test_weights_without_a_checkpoint_are_not_written_over(dataset, tmp_path):
    list(run_training([dataset], tmp_path / "run", SMALL, None, torch.device("cpu")))
    weights = tmp_path / "run" / "compact.safetensors"
    before = weights.read_bytes()
    (tmp_path / "run" / "checkpoint.pt").unlink()
    with pytest.raises(WeightsError, match="another folder"):
        next(run_training([dataset], tmp_path / "run", SMALL, weights, torch.device("cpu")))
    assert weights.read_bytes() == before


def test_folders_that_are_no_dataset(tmp_path, dataset):
    with pytest.raises(DatasetError, match="JPEGImages"):
        find_sequences(tmp_path)
    (dataset / "Annotations/480p/shapes/00003.png").unlink()
    with pytest.raises(DatasetError, match=r"00003\.png"):
        find_sequences(dataset)


def test_a_trunk_that_does_not_fit(dataset, tmp_path):
    save_weights({"a": torch.zeros(1)}, tmp_path / "other.safetensors", "other")
    with pytest.raises(WeightsError, match="holds no trunk that is known"):
        next(run_training([dataset], tmp_path / "run", SMALL, tmp_path / "other.safetensors", torch.device("cpu")))


def test_numbers_next_to_0_are_back_after_a_step():
    tiny = torch.tensor(1e-40)
    with denormals_flushed():
        pass
    assert (tiny * 1.0).item() > 0


def test_one_fold_is_left_out_and_all_folds_are_everything(tmp_path, drawn):
    for n in range(7):
        write_video(tmp_path, f"video{n}", drawn[0][:1], drawn[1][:1])
    annotated = find_annotated_clips(tmp_path)
    names = [[f.name for f in only_fold(annotated, fold)] for fold in range(5)]
    assert names == [["video0", "video5"], ["video1", "video6"], ["video2"], ["video3"], ["video4"]]
    assert [f.name for f in without_fold(annotated, 1)] == ["video0", "video2", "video3", "video4", "video5"]
    assert without_fold(annotated, None) == annotated


def test_cells_know_where_in_their_whole_frame_they_are(tmp_path, monkeypatch):
    """The frame's colours say where a pixel is; through the window, however it is turned, they agree with the place."""
    y, x = np.mgrid[:96, :128]
    frame = np.stack([2 * x, 2 * y, 0 * x], -1).astype(np.uint8)
    mask = np.zeros((96, 128), np.uint16)
    mask[40:60, 50:80] = 1
    write_video(tmp_path, "ramp", np.stack([frame] * 3), np.stack([mask] * 3))
    sampler = ClipSampler([find_annotated_clips(tmp_path)], (48, 64), 8, seed=0, near=1.0)
    monkeypatch.setattr(clips, "photometric", lambda rng, frames: frames)
    for n in range(4):
        clip = sampler[n]
        seen = torch.nn.functional.avg_pool2d(clip.frames * 255, 8)
        inside = (clip.place.abs() < 0.9).all(1)
        for axis, size in ((0, 128), (1, 96)):
            where = (clip.place[:, axis] + 1) / 2 * size - 0.5
            assert (seen[:, axis] / 2 - where)[inside].abs().max() < 3
