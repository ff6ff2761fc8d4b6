"""Many videos at once, on this computer or on a cluster."""
