"""The part that lives in napari."""
