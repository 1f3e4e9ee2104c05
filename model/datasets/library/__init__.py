"""The published datasets: what each needs, where it is, how it is downloaded."""
