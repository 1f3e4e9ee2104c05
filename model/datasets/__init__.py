"""Annotations and features of the published datasets, and of your own, as training batches."""
