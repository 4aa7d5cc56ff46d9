"""The broker of gpupool: knows every node and slice, decides who gets what, and writes down everything it accepted."""
