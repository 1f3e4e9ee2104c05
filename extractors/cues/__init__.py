"""What is said or written in a video, as timed text: subtitles in the file and beside it."""
