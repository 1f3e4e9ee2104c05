"""Trained models on disk: our format, the released one, and the store of both."""
