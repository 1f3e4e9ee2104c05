"""Where networks run, in which precision, and how their batches overlap."""
