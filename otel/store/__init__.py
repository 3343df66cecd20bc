"""The embedded trace store: an OTLP receiver, one SQLite file, and the commands that ask it."""
