"""The data loader, under the name the project's README gives it."""

from gpt_research.data.loader import DataLoader, evaluation_batches
from gpt_research.data.order import SampleOrder
from gpt_research.data.shards import Dataset

__all__ = ["DataLoader", "Dataset", "SampleOrder", "evaluation_batches"]
