"""Tests of the commands on what is said and written in videos."""
