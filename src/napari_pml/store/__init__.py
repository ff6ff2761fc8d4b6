"""Where masks and projects are kept."""
