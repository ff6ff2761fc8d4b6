"""How long `import napari_pml` takes, and how long the panel takes to open in a napari window that is there already.

    xvfb-run -a -s "-screen 0 1600x1000x24" python benchmarks/startup.py

Every repetition is a process of its own. The targets are 0.3 s and 2 s.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

IMPORT = """
import time
began = time.perf_counter()
import napari_pml
print(time.perf_counter() - began)
"""

PANEL = """
import time
import napari
from qtpy.QtWidgets import QApplication
viewer = napari.Viewer(show=True)
{sample}
QApplication.processEvents()
began = time.perf_counter()
viewer.window.add_plugin_dock_widget("napari-pml")
QApplication.processEvents()
print(time.perf_counter() - began)
viewer.close()
"""

PARTS = {
    "import napari_pml": IMPORT,
    "panel, no layers": PANEL.format(sample=""),
    "panel, with a video": PANEL.format(sample="viewer.open_sample('napari-pml', 'demo_clip')"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    for name, code in PARTS.items():
        runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True) for _ in range(repeats)]
        if failed := [run.stderr for run in runs if run.returncode]:
            raise SystemExit(failed[0])
        seconds = sorted(float(run.stdout.split()[-1]) for run in runs)
        print(
            f"{name:22} median {seconds[repeats // 2]:.3f} s, fastest {seconds[0]:.3f} s, slowest {seconds[-1]:.3f} s"
        )


if __name__ == "__main__":
    main()
