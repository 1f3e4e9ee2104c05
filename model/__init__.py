"""Everything that learns, scores and measures."""
