"""What a model or its predictions score on a split, beside the published scores."""
