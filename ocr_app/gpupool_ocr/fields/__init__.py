"""Structured fields: recognised lines in, a typed document out. Rules are data; nothing here knows a document type by name.

    lines ──recognise (marks)──> type ──find, normalise──> fields ──checks──> Document ──> JSON, CSV, duplicates, verifiers

Only `job` and `packaged` touch files and models; everything else is pure.
"""
