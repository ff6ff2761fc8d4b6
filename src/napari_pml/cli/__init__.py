"""The command line: napari-pml segment | segment-many | demo | evaluate | robot | train | info | download."""

from napari_pml.cli import evaluate, segment, segment_many, train
from napari_pml.cli.common import app

__all__ = ["app", "evaluate", "segment", "segment_many", "train"]
