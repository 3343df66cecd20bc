"""HTTP resources: each translates between HTTP and the gateway's own calls, nothing else."""
