"""Goodput under overload: answers that come in time, while far more is asked than can be answered."""
