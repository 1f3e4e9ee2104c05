"""The commands of `vtg`, a file each."""
