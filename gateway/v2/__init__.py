"""The Open Inference Protocol ("V2") without a transport: what its requests say, and what is answered."""
