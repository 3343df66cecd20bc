"""What every program shares keeps its promises by itself."""
