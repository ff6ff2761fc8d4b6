"""A few brush strokes become a segmentation of the whole video."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_pml.engine.session import Session as Session
    from napari_pml.errors import PmlError as PmlError
    from napari_pml.methods.pml.pml import PmlConfig as PmlConfig
    from napari_pml.methods.registry import METHODS as METHODS
    from napari_pml.store.masks import MaskStore as MaskStore
    from napari_pml.store.project import Project as Project
    from napari_pml.types import BACKGROUND as BACKGROUND
    from napari_pml.types import FrameMask as FrameMask
    from napari_pml.video.video import open_video as open_video

    __version__: str

_HOMES = {
    "BACKGROUND": "types",
    "FrameMask": "types",
    "PmlError": "errors",
    "MaskStore": "store.masks",
    "METHODS": "methods.registry",
    "PmlConfig": "methods.pml.pml",
    "Project": "store.project",
    "Session": "engine.session",
    "open_video": "video.video",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    """Import a public name on first use: napari starts faster when torch is not needed yet."""
    if name == "__version__":
        from importlib.metadata import version

        return version("napari-pml")
    if name not in _HOMES:
        raise AttributeError(f"module 'napari_pml' has no attribute {name!r}")
    return getattr(import_module(f"napari_pml.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
