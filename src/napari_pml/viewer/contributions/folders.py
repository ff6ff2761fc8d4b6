"""Folders dropped into napari: images become a lazy video, masks as PNGs and DAVIS annotations lazy labels."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import DTypeLike, NDArray

from napari_pml.disk.untrusted import open_image
from napari_pml.errors import AnnotationError
from napari_pml.video.folder import frames_of, images_in
from napari_pml.viewer.colours import object_colormap
from napari_pml.viewer.contributions.readers import LayerTuple

_FRAMES, _MASKS, _USUAL = "JPEGImages", "Annotations", "480p"  # DAVIS's own names


def get_reader(path: str | list[str]) -> Callable[[str], list[LayerTuple]] | None:
    """Return the reader for a folder with images or a folder laid out like DAVIS, or None for anything else."""
    if not isinstance(path, str) or not Path(path).is_dir():
        return None
    return read_folder if _images(Path(path)) or _sequences(Path(path)) else None


def read_folder(path: str) -> list[LayerTuple]:
    """Return the layers of a folder, which read only the frames that are looked at.

    A folder of PNGs as DAVIS and this plugin write masks is a Labels layer, see `are_masks`; any other folder of images
    is a video. If it lies in the JPEGImages of a folder laid out like DAVIS, its Annotations come with it. The folder
    of a whole dataset opens all its videos, of which the first is visible.

    Raises:
        VideoError: the images have different sizes, or one cannot be read.
    """
    from napari_pml.io.label_images import are_masks

    folder = Path(path)
    images = _images(folder)
    if are_masks(images):
        return [(LabelFolder(images, _size(images[0])), {"name": folder.name, "colormap": object_colormap()}, "labels")]
    videos = [folder] if images else _sequences(folder)
    return [layer for video in videos for layer in _video(video, visible=video == videos[0])]


class LabelFolder:
    """Label images as one array for a Labels layer: read when they are looked at, painted over in memory only.

    Attributes:
        shape: (T, H, W).
        dtype: uint16.
        ndim: 3.
        folder: in which the images lie; None if there are none.
    """

    dtype, ndim = np.dtype(np.uint16), 3

    def __init__(self, paths: Sequence[Path | None], size: tuple[int, int]) -> None:
        """Read nothing yet.

        Args:
            paths: the label image of every frame; None where there is none.
            size: (H, W) of each.
        """
        self.shape = (len(paths), *size)
        self.folder = next((path.parent for path in paths if path is not None), None)
        self._paths = list(paths)
        self._unread = {t for t, path in enumerate(paths) if path is not None}
        self._lock = threading.Lock()
        self._labels = zarr.create_array(
            store=zarr.storage.MemoryStore(), shape=self.shape, chunks=(1, *size), dtype=self.dtype
        )

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Read all frames."""
        return np.asarray(self[:], dtype)

    def __getitem__(self, key: Any) -> NDArray[np.uint16]:
        """Index like a Zarr array.

        Raises:
            AnnotationError: a file is no label image of the size of the others.
        """
        with self._lock:
            self._read(key)
            return np.asarray(self._labels[key])

    def __setitem__(self, key: Any, labels: Any) -> None:
        """Write like in a Zarr array; the files stay as they are."""
        with self._lock:
            self._read(key)
            self._labels[key] = labels

    def _read(self, key: Any) -> None:
        """Read the files of the frames that `key` names."""
        from napari_pml.io.label_images import read_labels

        times = np.arange(self.shape[0])[key[0] if isinstance(key, tuple) else key]
        for t in self._unread.intersection(np.unique(times).tolist()):
            path = self._paths[t]
            assert path is not None  # or it would not be unread
            labels = read_labels(path)
            if labels.shape != self.shape[1:]:
                raise AnnotationError(
                    f"{path} is {labels.shape[0]} x {labels.shape[1]} (rows x columns), but its video is "
                    f"{self.shape[1]} x {self.shape[2]}. Resize it without interpolation."
                )
            self._labels[t] = labels
            self._unread.discard(t)


def _video(folder: Path, *, visible: bool) -> list[LayerTuple]:
    """Return the layer of a folder of images, and the one of its annotations if there are any."""
    from napari_pml import open_video  # imports torch

    data = open_video(folder).as_layer_data()
    layers: list[LayerTuple] = [(data, {"name": folder.name, "rgb": data.ndim == 4, "visible": visible}, "image")]
    annotations = _annotations_of(folder)
    if annotations is not None:
        masks = [annotations / f"{image.stem}.png" for image in _images(folder)]
        paths = [mask if mask.exists() else None for mask in masks]
        meta = {"name": f"{folder.name} masks", "visible": visible, "colormap": object_colormap()}
        layers.append((LabelFolder(paths, (data.shape[1], data.shape[2])), meta, "labels"))
    return layers


def _annotations_of(folder: Path) -> Path | None:
    """Return where the masks of a sequence of DAVIS lie, or None if this is not one or has none."""
    parts = list(folder.absolute().parts)
    if _FRAMES not in parts:
        return None
    parts[len(parts) - 1 - parts[::-1].index(_FRAMES)] = _MASKS
    masks = Path(*parts)
    return masks if masks.is_dir() and _images(masks) else None


def _sequences(root: Path) -> list[Path]:
    """Return the folders of images of a DAVIS-layout dataset, in 480p if it has several resolutions."""
    frames = root / _FRAMES
    if (frames / _USUAL).is_dir():
        frames = frames / _USUAL
    below = sorted(p for p in frames.glob("*") if p.is_dir())
    if not any(_images(p) for p in below):  # these are other resolutions
        below = sorted(p for folder in below[:1] for p in folder.glob("*") if p.is_dir())
    return [p for p in below if _images(p)]


def _images(folder: Path) -> list[Path]:
    """Return the images in a folder, in the order in which a video shows them."""
    return frames_of(images_in(folder))


def _size(path: Path) -> tuple[int, int]:
    with open_image(path) as image:
        return image.height, image.width
