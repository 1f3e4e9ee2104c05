"""Container files: what they are, and when their frames are shown."""
