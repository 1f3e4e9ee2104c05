"""`vtg serve`: a page on this machine to look for moments with, and the HTTP API behind it."""
