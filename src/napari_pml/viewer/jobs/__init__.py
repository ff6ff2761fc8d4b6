"""What is computed in the background."""
