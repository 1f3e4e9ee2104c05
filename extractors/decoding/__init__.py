"""A video file in, the frames of its clips out."""
