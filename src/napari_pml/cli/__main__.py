"""python -m napari_pml.cli."""

from napari_pml.cli import app

app()
