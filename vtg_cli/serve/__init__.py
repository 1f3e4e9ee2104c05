"""`vtg serve`: a local page to search for moments, and the HTTP API behind it."""
