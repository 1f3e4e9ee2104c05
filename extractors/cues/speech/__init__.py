"""Speech in the sound of a video: where it is, what is said, and the sentences as cues."""
