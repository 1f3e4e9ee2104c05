"""Cutting moments out of videos."""
