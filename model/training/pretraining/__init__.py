"""Pretraining: pseudo-labels of unlabelled videos, used in the first epochs, and first weights from names."""
