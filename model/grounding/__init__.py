"""Grounding: turns a video and queries into moments and saliency curves."""
