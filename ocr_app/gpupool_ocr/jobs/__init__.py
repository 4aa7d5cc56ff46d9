"""Work that waits: who wants what read, who reads it, and what came of it.

service ──submit──> Board ──take──> Workers ──finish──> Board ──tells──> service ──> caller
                  embedded, or Redis for several services and workers on many machines
"""
