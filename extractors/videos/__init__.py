"""Videos: what is known of one, and what happens to it."""
