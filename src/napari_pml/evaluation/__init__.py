"""How good masks are, and how much work they took."""
