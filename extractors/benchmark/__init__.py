"""What `vtg bench` measures about decoding and encoding."""
