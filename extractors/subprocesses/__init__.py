"""Subprocesses of ours: how they start and end, what they may use, and the dataclasses that go to and fro."""
