"""Folders laid out like DAVIS: JPEGImages/<resolution>/<sequence>/*.jpg, Annotations likewise with *.png."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from napari_pml.errors import DatasetError
from napari_pml.io.label_images import read_labels
from napari_pml.types import Labels
from napari_pml.video.arrays import IMAGE_SUFFIXES
from napari_pml.video.folder import natural_order
from napari_pml.video.identity import identity

USUAL_RESOLUTION = "480p"
"""The folder that counts where there are several: the benchmark's figures are for it."""


@dataclass(frozen=True)
class DavisSequence:
    """One video of a dataset: frame t has the image `frames[t]` and the mask `masks[t]`."""

    name: str
    frames: tuple[Path, ...]
    masks: tuple[Path, ...]

    def mask(self, t: int) -> Labels:
        """Return the true (H, W) uint16 labels of frame t: 0 = background; black and white shows object 1.

        Raises:
            AnnotationError: the file is missing or is not an image of labels.
        """
        return read_labels(self.masks[t])

    def content(self) -> str:
        """Return 24 characters that change whenever the frames do, see `identity`, or a byte of the true masks.

        Raises:
            DatasetError: a file cannot be read.
        """
        try:
            found = hashlib.sha256(identity(self.frames[0].parent).encode())
            for mask in self.masks:
                found.update(hashlib.sha256(mask.read_bytes()).digest())
        except OSError as error:
            raise DatasetError(f"{self.name} cannot be read: {error}. Copy it again.") from error
        return found.hexdigest()[:24]


def find_sequences(root: Path, resolution: str | None = None) -> list[DavisSequence]:
    """List the sequences of a DAVIS-layout folder, by name; every frame must have a mask.

    Args:
        root: the folder that holds JPEGImages and Annotations.
        resolution: the folder below those; None: the only one there is, or 480p of several.

    Raises:
        DatasetError: the folder is not laid out like DAVIS, has not got that resolution, or frames and masks do
            not match.
    """
    resolution = resolution or _only_resolution(root)
    folders = sorted(p for p in (root / "JPEGImages" / resolution).glob("*") if p.is_dir())
    if not folders:
        raise DatasetError(
            f"No sequences in {root}: expected JPEGImages/{resolution}/<sequence>/*.jpg beside "
            f"Annotations/{resolution}/<sequence>/*.png, as in DAVIS."
        )
    sequences = []
    for folder in folders:
        visible = (p for p in folder.iterdir() if not p.name.startswith("."))
        frames = tuple(sorted((p for p in visible if p.suffix.lower() in IMAGE_SUFFIXES), key=natural_order))
        mask_folder = root / "Annotations" / resolution / folder.name
        masks = tuple(mask_folder / f"{frame.stem}.png" for frame in frames)
        missing = next((mask for mask in masks if not mask.exists()), None)
        if missing is not None:
            raise DatasetError(f"{folder.name}: there is no mask {missing}; every frame needs one of the same name.")
        sequences.append(DavisSequence(folder.name, frames, masks))
    return sequences


def select_sequences(sequences: list[DavisSequence], wanted: Iterable[str]) -> list[DavisSequence]:
    """Return the sequences of some names.

    Args:
        sequences: of a dataset.
        wanted: each a name, names with commas between them, or a .txt file that lists them as DAVIS does: a name
            (2017), or the paths of an image and its mask (2016), a line. None of them means all.

    Raises:
        DatasetError: there is no such list, or no sequence of that name.
    """
    names = {name for entry in wanted for name in _names(entry)}
    known = {sequence.name for sequence in sequences}
    if unknown := sorted(names - known):
        raise DatasetError(f"There is no sequence {unknown[0]!r} in the dataset. There are {', '.join(sorted(known))}.")
    return [sequence for sequence in sequences if not names or sequence.name in names]


def _only_resolution(root: Path) -> str:
    """Return the resolution to take if nobody says which."""
    found = sorted(p.name for p in (root / "JPEGImages").glob("*") if p.is_dir())
    if not found or USUAL_RESOLUTION in found:
        return USUAL_RESOLUTION
    if len(found) > 1:
        raise DatasetError(f"{root} holds several resolutions: {', '.join(found)}. Say which one is meant.")
    return found[0]


def _names(entry: str) -> list[str]:
    """Return the names of sequences in one entry of `select_sequences`."""
    if not entry.endswith(".txt"):
        return [name.strip() for name in entry.split(",") if name.strip()]
    try:
        lines = Path(entry).read_text().splitlines()
    except OSError as error:
        raise DatasetError(f"The list of sequences {entry} cannot be read: {error}.") from error
    firsts = [Path(line.split()[0]) for line in lines if line.strip()]
    return [first.parent.name or first.name for first in firsts]
