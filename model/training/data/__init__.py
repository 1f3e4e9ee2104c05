"""What is trained and scored on: splits, their features, and negatives."""
