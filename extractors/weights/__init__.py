"""Weights known by name: where they are, how they are downloaded and read."""
