"""Grounding without training: similarity to a query, held against that to everyday phrases."""
