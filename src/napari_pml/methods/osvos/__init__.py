"""OSVOS."""
