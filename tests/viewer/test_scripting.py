"""The console example of docs/scripting.md, executed as it stands."""

import os
import re
import subprocess
import sys
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
    document = names["panel"].controller.document
    qtbot.waitUntil(lambda: document.session is not None and not document.session.stale_frames(), timeout=60_000)
    found = np.asarray(viewer.layers["clip masks"].data[5])
    assert ((found == 1) & (masks[5] == 1)).sum() > 0.8 * ((found == 1) | (masks[5] == 1)).sum()


SCRIPT = """
import napari
import numpy as np
from napari.settings import get_settings

get_settings(path=None)
viewer = napari.Viewer()
viewer.add_image(np.zeros((3, 64, 64), np.uint8), name="clip")
viewer.window.add_plugin_dock_widget("napari-pml")
"""


def test_a_script_may_end_while_its_window_is_open(tmp_path):
    environment = os.environ | {"XDG_DATA_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
