"""Results as files for other programs, a file per format."""
