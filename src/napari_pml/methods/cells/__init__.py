"""Many cells of one kind, followed by motion, seeds and a watershed."""
