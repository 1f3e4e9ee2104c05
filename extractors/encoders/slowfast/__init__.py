"""SlowFast 8x8 R50: motion."""
