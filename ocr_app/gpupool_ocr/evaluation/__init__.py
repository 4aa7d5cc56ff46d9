"""How well pages are read: one version against the truth, or two versions side by side on the same pages.

labelled pages ──Version.read──> lines, fields, time ──scores──> counts a page ──comparison──> figures, intervals ──> report
"""
