"""The commands of `vtg`, one file per command."""
