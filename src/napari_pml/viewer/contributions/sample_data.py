"""The clip under File > Open Sample."""

from __future__ import annotations

from typing import Any


def demo_clip() -> list[tuple[Any, dict[str, Any], str]]:
    """Return a short video to try the plugin on."""
    from napari_pml.demo import make_clip

    frames, _ = make_clip(height=360, width=480, n_objects=3)
    return [(frames, {"name": "demo clip", "rgb": True}, "image")]
