"""Raw video and text in, cached features out. Nothing here depends on moments."""
