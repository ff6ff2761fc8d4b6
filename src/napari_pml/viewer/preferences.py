"""What the person chose under Preferences > Plugins, for all videos."""

from __future__ import annotations

from dataclasses import dataclass

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
    embedding_bytes: int = 768 * 1024**2
    embedding_disk_gb: float = 10


def preferences() -> Preferences:
    """Return what is chosen now; the defaults with a napari that has no such page, or without the installed plugin."""
    try:
        from napari.settings import get_plugin_settings  # napari 0.9

        computing = get_plugin_settings(PLUGIN).computing
    except (ImportError, KeyError):
        return Preferences()
    device = None if computing.device == "auto" else computing.device
    return Preferences(device, round(computing.embedding_memory * 1024**3), computing.embedding_disk)
