"""The optional model `embeddings`: vectors of texts by all-MiniLM-L6-v2, whose weights are fetched when asked for."""
