"""Tests of what is said and written in videos."""
