"""Subprocesses and what goes through their pipes."""
