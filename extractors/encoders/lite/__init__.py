"""The `lite` features: ImageNet classes in the space of MiniLM, without a download."""
