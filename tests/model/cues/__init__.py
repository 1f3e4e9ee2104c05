"""Tests of asking what is said in a video."""
