"""The commands of libraries: `vtg search` and `vtg index`."""
