"""One video being segmented."""
