"""Checkpoints: the files, and the model's place in them."""

from gpt_research.checkpoint.files import (
    BackgroundSaver,
    Checkpoint,
    SavedTensors,
    Shard,
    checkpoint_path,
    clear,
    load,
    load_newest,
    save,
    saved_steps,
    tensor_files,
    verify,
)
from gpt_research.checkpoint.weights import (
    copy_rows,
    first_rows,
    held_rows,
    is_sharded,
    model_tensors,
    restore_model,
    shape_of,
)

__all__ = [
    "BackgroundSaver", "Checkpoint", "SavedTensors", "Shard", "checkpoint_path", "clear", "copy_rows", "first_rows",
    "held_rows", "is_sharded", "load", "load_newest", "model_tensors", "restore_model",
    "save", "saved_steps", "shape_of", "tensor_files", "verify",
]  # fmt: skip
