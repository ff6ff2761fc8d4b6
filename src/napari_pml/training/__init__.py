"""Training an embedder: clips, losses, and the loop."""
