"""FEELVOS."""
