"""Pixel-wise metric learning."""
