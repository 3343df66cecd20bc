"""Runtimes: one file per way to run a model, imported only when a model names it."""
