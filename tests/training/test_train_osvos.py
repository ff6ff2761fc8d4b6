from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from typer.testing import CliRunner

from napari_pml import METHODS
from napari_pml.cli import app
from napari_pml.embedding.networks.side_network import SideNetwork
from napari_pml.embedding.registry import load_embedder
from napari_pml.embedding.weights import bundled, digest, load_weights
from napari_pml.errors import DatasetError, WeightsError
from napari_pml.training.train_osvos import OsvosTrainConfig, OsvosTraining, contour_shares, train_osvos

pytestmark = pytest.mark.slow

SMALL = OsvosTrainConfig(steps=4, frames_per_step=1, height=64, width=80)
CPU = torch.device("cpu")


@pytest.fixture
def dataset(tmp_path, drawn):
    """One video in DAVIS layout, with two frames."""
    for kind, arrays, suffix in (("JPEGImages", drawn[0], "jpg"), ("Annotations", drawn[1] > 0, "png")):
        folder = tmp_path / "data" / kind / "480p" / "shapes"
        folder.mkdir(parents=True)
        for t in (0, 4):
            Image.fromarray(arrays[t].astype(np.uint8)).save(folder / f"{t:05d}.{suffix}")
    return tmp_path / "data"


def test_contours_are_the_pixels_along_the_border():
    is_object = torch.zeros(8, 9)
    is_object[2:6, 3:7] = 1
    is_object = F.pad(is_object, (0, 40, 0, 0))
    frame = 0.3 * is_object.expand(3, -1, -1).clone()
    frame[:, :, 20:30] += torch.rand(8, 10, generator=torch.Generator().manual_seed(0))  # something unannotated
    free, border = contour_shares(torch.stack([1 - is_object, is_object]), frame)
    expected = torch.zeros(8, 49)
    expected[1:7, 2:8], expected[3:5, 4:6] = 1, 0
    assert (border == expected).all()
    assert (free[3:5, 4:6] == 1).all()  # inside of the object
    assert (free[:, 34:] == 1).all()  # flat ground
    assert (free[:, 20:30] == 0).all()  # nobody has said whether there are contours here


def test_views_keep_frame_and_labels_together(dataset):
    trainer = OsvosTraining([dataset], None, SMALL, CPU)
    for number in range(6):
        frame, objects, contours = trainer.view(number)
        assert (frame.shape, objects.shape, contours.shape) == ((3, 64, 80), (2, 32, 40), (2, 32, 40))
        green = torch.nn.functional.avg_pool2d(frame, 2).argmax(0) == 1
        sure = objects[0] == 1
        assert (green & sure).sum() > 0.6 * sure.sum()
        assert 0 <= objects.min() <= objects.sum(0).max() <= 1 + 1e-5
        again = trainer.view(number)
        assert all((a == b).all() for a, b in zip(again, (frame, objects, contours), strict=True))


def test_a_run_writes_weights_that_the_network_takes(dataset, tmp_path):
    reports = list(train_osvos([dataset], tmp_path / "run", SMALL, None, CPU))
    assert [report.step for report in reports] == [1, 2, 3, 4]
    assert all(np.isfinite(list(report.losses.values())).all() for report in reports)
    path = tmp_path / "run" / "osvos.safetensors"
    assert SideNetwork.from_file(path)[1] != SideNetwork.from_file()[1]
    assert path.stat().st_size < 4e6
    assert bundled("osvos").stat().st_size < 4e6


def test_a_stopped_run_goes_on_where_it_was(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("napari_pml.training.loop.CHECKPOINT_EVERY", 2)
    list(train_osvos([dataset], tmp_path / "straight", SMALL, None, CPU))
    running = train_osvos([dataset], tmp_path / "stopped", SMALL, None, CPU)
    for _ in range(3):
        next(running)
    running.close()
    rest = list(train_osvos([dataset], tmp_path / "stopped", SMALL, None, CPU))
    assert [report.step for report in rest] == [3, 4]
    straight, stopped = (load_weights(tmp_path / run / "osvos.safetensors")[0] for run in ("straight", "stopped"))
    assert all((straight[name] == stopped[name]).all() for name in straight)


def test_a_run_with_other_settings_or_another_start_is_not_mixed_in(dataset, tmp_path):
    list(train_osvos([dataset], tmp_path / "run", replace(SMALL, steps=1), None, CPU))
    for config, start in ((SMALL, None), (replace(SMALL, steps=1), tmp_path / "run" / "osvos.safetensors")):
        with pytest.raises(WeightsError, match="another folder to start again"):
            list(train_osvos([dataset], tmp_path / "run", config, start, CPU))


def test_an_embedder_of_ones_own_in_the_folder_is_not_written_over(dataset, tmp_path):
    mine = tmp_path / "run" / "compact.safetensors"
    mine.parent.mkdir()
    mine.write_bytes(b"trained for hours")
    with pytest.raises(WeightsError, match="another folder"):
        next(train_osvos([dataset], tmp_path / "run", SMALL, None, CPU))
    assert mine.read_bytes() == b"trained for hours"
    assert list(mine.parent.iterdir()) == [mine]


def test_weights_of_another_network_and_videos_without_objects(dataset, tmp_path):
    with pytest.raises(WeightsError, match="'osvos' is needed"):
        OsvosTraining([dataset], bundled("compact"), SMALL, CPU)
    for mask in dataset.glob("Annotations/480p/*/*.png"):
        Image.fromarray(np.zeros((96, 128), np.uint8)).save(mask)
    with pytest.raises(DatasetError, match="no object"):
        OsvosTraining([dataset], None, SMALL, CPU).view(0)


def test_the_command_line_trains_it(dataset, tmp_path):
    arguments = ["train", str(dataset), "--out", str(tmp_path / "run"), "--network", "osvos", "--steps", "1"]
    result = CliRunner().invoke(app, [*arguments, "--device", "cpu"])
    assert result.exit_code == 0, result.output
    embedder = load_embedder(str(tmp_path / "run" / "compact.safetensors"), CPU)
    assert embedder.fingerprint == load_embedder("compact", CPU).fingerprint
    assert METHODS["osvos"].fingerprint(embedder) == digest(tmp_path / "run" / "osvos.safetensors")
    assert METHODS["osvos"].fingerprint(load_embedder("compact", CPU)) == digest(bundled("osvos"))
