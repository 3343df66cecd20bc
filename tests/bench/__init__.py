"""Micro-benchmarks with pytest-benchmark; `make bench-hop` runs them, `make test` does not."""
