"""The command line: napari-pml segment | demo | evaluate | robot | train | info | download."""

from napari_pml.cli import evaluate, segment, train
from napari_pml.cli.common import app

__all__ = ["app", "evaluate", "segment", "train"]
