"""The other servers: for each a folder with its pins and the few lines that serve the shared work."""
