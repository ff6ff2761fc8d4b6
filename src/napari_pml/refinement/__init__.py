"""Scores of cells become labels of pixels."""
