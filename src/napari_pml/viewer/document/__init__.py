"""One video in the viewer."""
