"""User actions."""
