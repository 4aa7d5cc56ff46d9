"""Structured fields: recognised lines in, a typed document out. Rules are data; nothing here knows a document type by name.

    lines ──recognise (marks)──> type ──find, normalise──> fields ──checks──> Document ──> JSON, CSV, duplicates, verifiers

Everything but `command` is pure: no files, clocks or models.
"""
