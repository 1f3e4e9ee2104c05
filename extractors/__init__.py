"""Raw video and text in, cached features out; knows nothing of moments."""
