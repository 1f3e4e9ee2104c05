"""From a list of videos to cached features."""
