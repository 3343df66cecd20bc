"""The inference worker: Open Inference Protocol in, numbers out."""
