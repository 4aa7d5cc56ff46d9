"""What shall be done with a page, as data: models, plug-ins, plans of steps, and who gets which plan. Pure.

YAML ──reading──> Snapshot ──resolve(bid, tid)──> Plan ──graph──> steps, each with what it waits for
                     └─────diff(other)────> what an `apply` would change
"""
