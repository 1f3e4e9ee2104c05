"""Scores of a model or its predictions on a split, and the published scores to compare them with."""
