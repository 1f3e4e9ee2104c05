"""Saliency curves in the terminal, in pictures and on pages."""
