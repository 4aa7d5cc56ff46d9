"""Reports made in a process of their own, so that no turn of the broker waits for one.

REST, time ──Desk──> child process ──journal──> Meter ──> days ──build──> Report ──> JSON, CSV, XLSX, PDF
                (one at a time)         └─> schedules ──> folder, mail
"""
