"""The videos that the page offers."""
