"""The console example of docs/scripting.md, executed as it stands."""

import re
from pathlib import Path

import numpy as np

from napari_pml.demo import make_clip

PAGE = Path(__file__).parents[2] / "docs" / "scripting.md"


def test_napari_s_console(make_napari_viewer, qtbot):
    viewer = make_napari_viewer()
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text().split("## In napari's console")[1], flags=re.DOTALL)
    frames, masks = make_clip(n_frames=6, height=120, width=160)
    names = {"np": np, "frames": frames, "masks": masks}
    exec(compile("\n".join(code), str(PAGE), "exec"), names)
    track = names["panel"].controller.track
    qtbot.waitUntil(lambda: track.session is not None and not track.session.stale_frames(), timeout=60_000)
    found = np.asarray(viewer.layers["clip masks"].data[5])
    assert ((found == 1) & (masks[5] == 1)).sum() > 0.8 * ((found == 1) | (masks[5] == 1)).sum()
