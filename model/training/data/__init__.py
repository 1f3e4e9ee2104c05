"""Data for training and scoring: splits, their features, and negatives."""
