"""What a library consists of: its catalogue and its vectors, in a folder or in object storage."""
