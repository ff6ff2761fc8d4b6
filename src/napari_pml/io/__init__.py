"""Masks and annotations as files, and as numbers."""
