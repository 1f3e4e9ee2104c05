"""Pseudo-labels of unlabelled videos, to learn from before the labelled ones."""
