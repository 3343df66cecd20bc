"""The gateway: HTTP in, Open Inference Protocol out."""
