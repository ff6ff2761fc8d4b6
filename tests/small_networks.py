"""Networks of other people in miniature: random weights in the format in which the real ones are published."""

from pathlib import Path

import torch


def save_vision_transformer(folder: Path, kind: str) -> Path:
    """Write a "dinov2" or "dinov3" of two layers."""
    from transformers import Dinov2Config, Dinov2Model, DINOv3ViTConfig, DINOv3ViTModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.manual_seed(0)
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    if kind == "dinov2":
        net = Dinov2Model(Dinov2Config(**size, patch_size=14, image_size=70))
    else:
        net = DINOv3ViTModel(DINOv3ViTConfig(**size, patch_size=16, num_register_tokens=4))
    net.save_pretrained(folder)
    return folder


def resnet101_shapes() -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of torchvision's ResNet-101, as its checkpoints have them."""
    shapes: dict[str, tuple[int, ...]] = {}

    def norm(name: str, width: int) -> None:
        shapes.update({f"{name}.{part}": (width,) for part in ("weight", "bias", "running_mean", "running_var")})
        shapes[f"{name}.num_batches_tracked"] = ()

    shapes["conv1.weight"] = (64, 3, 7, 7)
    norm("bn1", 64)
    n_in = 64
    for stage, (depth, width) in enumerate(((3, 64), (4, 128), (23, 256), (3, 512)), start=1):
        for block in range(depth):
            name = f"layer{stage}.{block}"
            shapes[f"{name}.conv1.weight"] = (width, n_in, 1, 1)
            shapes[f"{name}.conv2.weight"] = (width, width, 3, 3)
            shapes[f"{name}.conv3.weight"] = (4 * width, width, 1, 1)
            for i, n in ((1, width), (2, width), (3, 4 * width)):
                norm(f"{name}.bn{i}", n)
            if block == 0:
                shapes[f"{name}.downsample.0.weight"] = (4 * width, n_in, 1, 1)
                norm(f"{name}.downsample.1", 4 * width)
            n_in = 4 * width
    shapes["fc.weight"], shapes["fc.bias"] = (1000, 2048), (1000,)
    return shapes


def random_resnet101(branch: float = 0.3) -> dict[str, torch.Tensor]:
    """Return weights that keep signals at their size.

    With a small gain of each block's branch, shortcuts prevail, as in a deep network that has been trained.
    """
    chance = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in resnet101_shapes().items():
        if len(shape) == 4:
            state[name] = torch.randn(shape, generator=chance) * (2 / (shape[1] * shape[2] * shape[3])) ** 0.5
        elif name.endswith(("running_var", "weight")):
            state[name] = torch.full(shape, branch if "bn3" in name and name.endswith("weight") else 1.0)
        else:
            state[name] = torch.zeros(shape, dtype=torch.float32 if shape else torch.int64)
    return state
