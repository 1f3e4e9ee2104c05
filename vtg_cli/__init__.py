"""Commands, and everything people see."""
