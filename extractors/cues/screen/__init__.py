"""Text on the screen: pictures that differ, the lines in them, and lines over time as cues."""
