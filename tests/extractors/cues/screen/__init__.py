"""Tests of text on the screen."""
