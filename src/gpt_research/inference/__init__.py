"""Writing text with a trained model."""

from gpt_research.inference.generate import Piece, Sample, generate, stream

__all__ = ["Piece", "Sample", "generate", "stream"]
