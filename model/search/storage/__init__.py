"""What a library consists of on disk: its catalogue and its vectors."""
