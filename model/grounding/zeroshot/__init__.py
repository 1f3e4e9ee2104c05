"""Grounding without training: similarity to a query, compared with similarity to everyday phrases."""
