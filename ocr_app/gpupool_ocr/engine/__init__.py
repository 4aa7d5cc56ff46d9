"""Carries out plans: calls of many pages on few lanes, one copy of each model, versions that never mix within a page.

page ──PageRun: split──> calls ──Lanes: choose──> model on the slice, plug-in's process ──> answers ──merge──> page
"""
