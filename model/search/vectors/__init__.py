"""An index of unit vectors: their rows on disk, their codes, and the search for the nearest ones."""
