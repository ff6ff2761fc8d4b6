"""The paper's trunk, and the published weights that fit it."""

import pytest
import torch
import torch.nn.functional as F

from napari_pml.embedding.networks.compact import trained_trunk
from napari_pml.embedding.networks.deeplab import DeepLabTrunk, from_torchvision
from napari_pml.errors import WeightsError
from small_networks import random_resnet101, resnet101_shapes


@pytest.mark.parametrize("prefix", ["", "backbone."])
def test_torchvisions_resnet101_fits(tmp_path, prefix):
    """Names and shapes of the published checkpoints: 104 convolutions, their norms, the classifier."""
    shapes = resnet101_shapes()
    assert sum(len(shape) == 4 for shape in shapes.values()) == 104
    n_parameters = sum(torch.Size(shape).numel() for name, shape in shapes.items() if "running" not in name and shape)
    assert n_parameters == 44_549_160
    state = {f"{prefix}{name}": value for name, value in random_resnet101().items()}
    torch.save(state, tmp_path / "resnet101.pth")
    trunk = trained_trunk(tmp_path / "resnet101.pth")
    assert isinstance(trunk, DeepLabTrunk)
    fine, deep = trunk(torch.rand(1, 3, 40, 48))
    assert fine.shape == (1, 1024, 5, 6)
    assert deep.shape == (1, 256, 5, 6)
    del state[f"{prefix}layer2.1.bn2.bias"]
    torch.save(state, tmp_path / "damaged.pth")
    with pytest.raises(WeightsError, match=r"layer2\.1\.bn2\.bias"):
        trained_trunk(tmp_path / "damaged.pth")


def test_norms_are_folded_exactly():
    state = random_resnet101()
    chance = torch.Generator().manual_seed(1)
    parts = ("running_mean", "running_var", "weight", "bias")
    for part in parts:
        state[f"bn1.{part}"] = torch.rand(64, generator=chance) + 0.5
    folded = from_torchvision(state)
    x = torch.rand(1, 3, 20, 20, generator=chance)
    plain = F.batch_norm(F.conv2d(x, state["conv1.weight"]), *(state[f"bn1.{part}"] for part in parts))
    assert torch.allclose(F.conv2d(x, folded["conv1.weight"], folded["conv1.bias"]), plain, atol=1e-4)
