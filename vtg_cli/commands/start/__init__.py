"""The first minute: `vtg demo`, and what `vtg` alone suggests."""
