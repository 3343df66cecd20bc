"""Measures InferenceHub against other servers on the same machine, with the same models, in the same run."""
