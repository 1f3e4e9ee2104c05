"""Search over a library of videos: which video, and where."""
