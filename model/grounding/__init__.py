"""A video and queries in, moments and saliency curves out."""
