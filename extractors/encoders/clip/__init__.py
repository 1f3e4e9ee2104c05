"""CLIP ViT-B/32: frames and queries in one space."""
