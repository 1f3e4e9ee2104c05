"""The frozen networks that make features."""
