"""The model: token ids in, logits or a loss out."""
