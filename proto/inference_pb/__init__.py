"""The wire contract as Python: generated from proto/*.proto by `make proto`, never edited."""
