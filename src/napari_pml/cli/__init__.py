"""The command line: napari-pml segment | segment-many | embed | demo | evaluate | robot | train | info | download."""

from napari_pml.cli import embed, evaluate, info, segment, segment_many, train
from napari_pml.cli.common import app

__all__ = ["app", "embed", "evaluate", "info", "segment", "segment_many", "train"]
