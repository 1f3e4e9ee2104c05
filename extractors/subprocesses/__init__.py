"""vtg's subprocesses: how they start and end, their limits, and the dataclasses they exchange."""
