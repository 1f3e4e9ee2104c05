"""The published metrics, vectorised."""
