"""What happens to the colours of a training clip: another camera, another light, another compression."""

from __future__ import annotations

import io

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from napari_pml.disk.untrusted import open_image


def photometric(rng: np.random.Generator, frames: torch.Tensor) -> torch.Tensor:
    """Change brightness, contrast and colour of a clip, and a little of each frame.

    One clip in ten is grey, one in five blurred, one in five noisy, one in five compressed as JPEG.

    Args:
        rng: source of randomness.
        frames: (N, 3, H, W) float32 RGB in 0..1.

    Returns:
        Likewise.
    """
    gain = rng.normal(1, 0.15) + rng.normal(0, 0.05, (1, 3, 1, 1)) + rng.normal(0, 0.04, (len(frames), 3, 1, 1))
    shift = rng.normal(0, 0.06) + rng.normal(0, 0.02, (len(frames), 1, 1, 1))
    mean = frames.mean(dim=(1, 2, 3), keepdim=True)
    x = (frames - mean) * torch.tensor(gain).float() + mean + torch.tensor(shift).float()
    grey = x.mean(dim=1, keepdim=True)
    saturation = 0.0 if rng.random() < 0.1 else float(rng.uniform(0.6, 1.4))
    x = grey + (x - grey) * saturation
    if rng.random() < 0.2:
        x = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    if rng.random() < 0.2:
        x = x + torch.from_numpy(rng.standard_normal(x.shape, np.float32)) * float(rng.uniform(0.01, 0.05))
    x = x.clamp(0, 1)
    if rng.random() < 0.2:
        quality = int(rng.integers(25, 76))
        x = torch.stack([_jpeg(frame, quality) for frame in x])
    return x


def _jpeg(frame: torch.Tensor, quality: int) -> torch.Tensor:
    """Return a (3, H, W) frame in 0..1 as JPEG leaves it."""
    file = io.BytesIO()
    Image.fromarray((frame * 255).byte().permute(1, 2, 0).numpy()).save(file, "JPEG", quality=quality)
    return torch.tensor(np.asarray(open_image(file))).permute(2, 0, 1).float() / 255
