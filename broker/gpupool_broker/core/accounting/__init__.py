"""What tenants held and used, in money and energy, worked out of the journal's facts. Pure: the same facts give the same report.

facts ──Meter──> quarter hours ──> Day records (one per UTC day, device and tenant) ──build──> Report
                 (settled a quarter later)      what the store keeps                  prices, zone, grouping

Everything is an exact integer until a row is shown: per-cent-milliseconds, MiB-milliseconds, nanoseconds of device time,
millijoules, cents.
"""
