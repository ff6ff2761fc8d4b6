"""From annotations and embeddings to scores."""
