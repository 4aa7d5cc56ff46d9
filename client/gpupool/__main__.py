"""`python -m gpupool`."""

from gpupool.cli import main

main()
