"""How one machine is laid out and operated."""
