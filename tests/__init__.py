"""What the programs promise, folder by folder as in the source."""
