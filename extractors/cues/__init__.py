"""What is said and written in a video, as timed text: subtitles in the file and beside it, and text on the screen."""
