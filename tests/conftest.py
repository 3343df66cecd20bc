"""What holds for every test."""

from __future__ import annotations

from hypothesis import settings

# A slow machine is not a failing program: pytest's own timeout ends what hangs.
settings.register_profile("house", deadline=None, max_examples=50)
settings.load_profile("house")
