"""Pages drawn with their labels: for measuring, and for training. The same seed draws the same pages.

seed, index ──wording──> texts ──templates, scenes──> Page ──degradation──> image, polygons ──dataset──> files
"""
