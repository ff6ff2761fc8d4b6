"""What lies on a disk: read within bounds, and written for good."""
