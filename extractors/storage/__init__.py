"""Object storage: what is in a bucket, downloads to this machine, and objects that are whole or not there."""

SCRATCH_BYTES = 10_000_000_000
"""How much room on this machine objects take by default while they are read."""
