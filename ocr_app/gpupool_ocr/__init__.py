"""The OCR application of gpupool: pages in, lines of text out, with the models run on a slice of the pool."""
