"""What is said and written in a video, as timed text: subtitles in the file and beside it, speech, and the screen."""
