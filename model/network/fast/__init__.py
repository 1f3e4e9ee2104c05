"""What makes the network fast and changes none of its results: layers for training, packed weights for answering."""
