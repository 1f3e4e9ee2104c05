"""What `vtg bench` measures of decoding and encoding."""
