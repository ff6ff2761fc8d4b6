"""The user's choices under Preferences > Plugins, for all videos."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

PLUGIN = "napari-pml"


@dataclass(frozen=True)
class Preferences:
    """Where networks run and how much they may remember.

    Attributes:
        device: "cuda", "mps" or "cpu"; None for the best there is.
        embedding_bytes: room for the embeddings of one video in main memory.
        embedding_disk_gb: room for those of all videos on disk.
    """

    device: str | None = None
    embedding_bytes: int = round(0.4 * 1024**3)
    embedding_disk_gb: float = 10


def preferences() -> Preferences:
    """Return the present choices; the defaults where napari has no such page or the plugin is not installed."""
    page = _page()
    if page is None:
        return Preferences()
    computing = page.computing
    device = None if computing.device == "auto" else computing.device
    return Preferences(device, round(computing.embedding_memory * 1024**3), computing.embedding_disk)


def wants_first_hint() -> bool:
    """Return whether to show the hint at the tutorial: until it was closed, if that can be remembered."""
    page = _page()
    return page is not None and page.help.first_hint


def close_first_hint() -> None:
    """Remember that the hint at the tutorial was closed."""
    page = _page()
    if page is not None:
        page.help.first_hint = False


def _page() -> Any:
    """Return the settings that napari keeps for the plugin, None if it keeps none."""
    try:
        from napari.settings import get_plugin_settings  # napari 0.9

        return get_plugin_settings(PLUGIN)
    except (ImportError, KeyError):
        return None
