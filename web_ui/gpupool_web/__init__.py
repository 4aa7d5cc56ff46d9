"""The web UI of gpupool: pages that speak REST to the broker, with the signed-in user's own credential, and nothing else."""
