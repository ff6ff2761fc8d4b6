"""The mask head: strokes, earlier masks and distances in the embedding become masks."""
