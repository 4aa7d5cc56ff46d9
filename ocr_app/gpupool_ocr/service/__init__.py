"""The recognition service: HTTP in front, jobs behind it, plans on a slice of the pool.

caller ──HTTP──> app ──submit──> Board ──> Workers ──> Reader ──Router──> plan ──Lanes──> slice, plug-ins
                  │                                      └──> request log, metrics (off the path)
                  └── /v1/admin: snapshots applied, promoted, rolled back
"""
