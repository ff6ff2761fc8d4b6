"""From frames to embeddings: networks that know nothing of annotations, and the stores that keep what they made."""
