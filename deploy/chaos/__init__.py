"""Faults, one after the other, under load: what does a client notice, and how long until everything is back."""
