"""Folders laid out like DAVIS: JPEGImages/<resolution>/<sequence>/*.jpg, Annotations likewise with *.png."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from napari_pml.types import DatasetError, Labels


@dataclass(frozen=True)
class Sequence:
    """One video of a dataset: frame t has the image `frames[t]` and the mask `masks[t]`."""

    name: str
    frames: tuple[Path, ...]
    masks: tuple[Path, ...]

    def mask(self, t: int) -> Labels:
        """Return the true (H, W) uint16 labels of frame t, 0 = background."""
        with Image.open(self.masks[t]) as image:
            return np.asarray(image).astype(np.uint16)


def find_sequences(root: Path) -> list[Sequence]:
    """List the sequences of a DAVIS-layout folder that have one mask for every frame.

    Raises:
        DatasetError: the folder is not laid out like DAVIS, or frames and masks do not match.
    """
    folders = sorted(p for p in root.glob("JPEGImages/*/*") if p.is_dir())
    if not folders:
        raise DatasetError(
            f"No sequences in {root}: expected JPEGImages/480p/<sequence>/*.jpg beside "
            f"Annotations/480p/<sequence>/*.png, as in DAVIS."
        )
    sequences = []
    for folder in folders:
        frames = tuple(sorted(p for p in folder.iterdir() if p.suffix.lower() in {".jpg", ".jpeg", ".png"}))
        mask_folder = root / "Annotations" / folder.parent.name / folder.name
        masks = tuple(mask_folder / f"{frame.stem}.png" for frame in frames)
        missing = next((mask for mask in masks if not mask.exists()), None)
        if missing is not None:
            raise DatasetError(f"{folder.name}: there is no mask {missing}; every frame needs one of the same name.")
        sequences.append(Sequence(folder.name, frames, masks))
    return sequences
