"""Object storage: what is in a bucket, downloads to this machine, and objects that are whole or not there."""
