"""New versions beside old ones: the desired state, its history, and the instances that follow it.

apply ──checked, read golden samples──> SnapshotStore (number 8; candidate: 10 %) ──each instance's Follower──> Router
promote, rollback ──> SnapshotStore ──> every instance, within a second
"""
