"""MLServer with the shared work; run by that peer's own environment."""
