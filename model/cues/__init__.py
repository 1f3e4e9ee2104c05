"""Search in what is said or written in a video, by words and by meaning."""
