"""Which files the layers of a viewer are read from: they must not be overwritten."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from napari.layers import Layer

from napari_pml.viewer.document.documents import open_projects
from napari_pml.viewer.document.metadata import PROJECT, READ_FROM


def inputs_of(shown: Iterable[Layer]) -> list[Path]:
    """Return the files that layers are read from, as far as known, and the projects that are open for them."""
    layers = list(shown)
    return [*open_projects(layers), *(path for layer in layers for path in read_from(layer))]


def read_from(layer: Layer) -> list[Path]:
    """Return the files, folders and projects that a layer is read from, as far as that is known."""
    data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
    return read_from_array(data, layer.metadata, layer.source.path)


def read_from_array(data: Any, metadata: Mapping[str, Any], opened: str | None = None) -> list[Path]:
    """Return the files, folders and projects that a layer is read from, as far as that is known.

    Args:
        data: of the layer, in full resolution.
        metadata: of the layer.
        opened: what napari was asked to open; this may be a whole dataset, so that what the data know counts more.
    """
    own = _place_of(data) or opened
    return [Path(path) for path in (own, metadata.get(PROJECT), *metadata.get(READ_FROM, ())) if path]


def note_input(layer: Layer, path: Path) -> None:
    """Remember a further file that a layer was read from."""
    layer.metadata = layer.metadata | {READ_FROM: [*layer.metadata.get(READ_FROM, ()), str(path.absolute())]}


def _place_of(data: Any) -> str | Path | None:
    """Return where an array is read from: those of this plugin, memory maps, and Zarr arrays on disk know it."""
    root = getattr(getattr(data, "store", None), "root", None)
    if root is not None:
        return Path(root) / str(data.path)
    video = getattr(data, "video", None)
    known: str | Path | None = getattr(video, "path", None) or getattr(data, "folder", None)
    filename: str | Path | None = getattr(data, "filename", None)
    return known or filename
