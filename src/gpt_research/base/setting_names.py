"""The names of settings, and the hint for a name that is none: the closest one, or what a setting
of another program is called here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, get_type_hints

from gpt_research.base.errors import closest

OURS: dict[tuple[str, ...], str] = {
    ("lr", "max_lr", "peak_lr", "lr_max", "base_lr"): "learning_rate",
    ("min_lr", "lr_min", "lr_min_ratio"): "min_lr_ratio (a share of learning_rate)",
    ("lr_scheduler", "lr_scheduler_type", "scheduler", "lr_schedule", "decay_lr"): "schedule",
    ("warmup", "warmup_iters", "num_warmup_steps", "lr_warmup_steps"): "warmup_steps",
    ("num_decay_steps", "lr_wsd_decay_iters", "warmdown_ratio", "warmdown_iters", "cooldown", "decay_fraction",
     "cooldown_fraction"): "decay_ratio (a share of all steps)",
    ("decay_type", "lr_wsd_decay_style"): "decay_shape",
    ("warmup_ratio", "warmup_tokens"): "warmup_steps (a number of steps)",
    ("lr_decay_iters", "lr_decay_steps"): "max_steps (the learning rate ends there)",
    ("max_iters", "n_iters", "num_iterations", "iterations", "iters", "steps", "num_steps", "train_steps",
     "total_steps", "num_train_steps"): "max_steps",
    ("epochs", "epoch", "num_epochs", "n_epochs", "max_epochs", "num_train_epochs"):
        "max_steps (an epoch has as many as the data set's tokens divided by tokens_per_step)",
    ("batch_size", "batch", "bs", "train_batch_size", "per_device_train_batch_size", "micro_batch_size",
     "device_batch_size", "mbs"):
        "micro_batch (sequences of one pass) | tokens_per_step (tokens of one step) | batch_size",
    ("gradient_accumulation_steps", "grad_accum", "accumulate_grad_batches", "grad_accum_steps", "global_batch_size",
     "total_batch_size"): "tokens_per_step (tokens of one step over all devices)",
    ("block_size", "context", "context_length", "context_size", "ctx", "n_ctx", "seq_len", "seq_length",
     "sequence_length", "max_seq_len", "max_seq_length", "n_positions", "max_position_embeddings"):
        "model.block_size",
    ("n_layers", "num_layers", "layers", "depth", "num_hidden_layers"): "model.n_layer",
    ("n_heads", "num_heads", "heads", "num_attention_heads"): "model.n_head",
    ("d_model", "dim", "width", "hidden_size", "hidden_dim", "embed_dim", "n_embed", "embedding_size"): "model.n_embd",
    ("num_key_value_heads", "n_kv_heads", "kv_heads", "num_kv_heads", "n_query_groups"): "model.n_kv_head",
    ("head_dim", "d_head", "head_width"): "model.head_size",
    ("intermediate_size", "d_ff", "ffn_dim", "n_inner", "hidden_mult"): "model.n_ff",
    ("activation_function", "act", "hidden_act"): "model.activation",
    ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "eps"): "model.norm_eps",
    ("rope_base", "theta"): "model.rope_theta",
    ("final_logit_softcapping", "softcap"): "model.logit_softcap",
    ("position_embedding", "position_encoding", "rope"): "model.positions",
    ("tie_word_embeddings", "tie_embeddings"): "model.tie_weights",
    ("optim", "optimizer_type", "opt"): "optimizer.name",
    ("wd", "decay"): "weight_decay",
    ("betas", "adam_beta1"): "beta1 | beta2",
    ("adam_beta2",): "beta2",
    ("clip", "clip_grad", "max_grad_norm", "gradient_clipping", "gradient_clip_val", "max_norm"): "grad_clip",
    ("dtype", "fp16", "bf16", "fp32", "amp", "mixed_precision", "half", "tf32"):
        "precision | dtype",
    ("gpu", "gpus", "cpu", "cuda", "no_cuda", "use_cpu", "mps"): "device",
    ("fsdp", "ddp", "hsdp", "strategy", "backend"): "parallel",
    ("no_sync", "require_backward_grad_sync", "requires_gradient_sync"): "gradient_exchange (step)",
    ("torch_compile",): "compile",
    ("activation_checkpointing", "grad_checkpointing"): "gradient_checkpointing",
    ("data_dir", "data_path", "dataset", "train_data", "train_file", "input_bin", "dataset_path"): "data",
    ("input", "inputs", "input_file", "input_dir", "source_dir", "files", "corpus"):
        "corpora (NAME=PATH, given without a flag) | data | source (given without a flag)",
    ("output", "out_dir", "output_dir", "save_dir", "outdir", "output_path", "run_name", "log_dir", "save_path"): "out",
    ("resume_from_checkpoint", "resume_from", "continue", "load"): "resume",
    ("checkpoint", "ckpt", "ckpt_path", "checkpoint_path", "model_path", "model_dir", "model_name_or_path",
     "pretrained", "weights_path", "run_dir"):
        "run (the folder, given without a flag) | resume (a run folder: goes on with it)",
    ("eval_every", "eval_steps", "eval_freq", "val_interval", "val_every", "evaluation_interval", "val_loss_every"):
        "eval_interval",
    ("eval_iters", "eval_batches", "val_steps"): "eval_tokens",
    ("log_every", "logging_steps", "log_freq", "log_steps"): "log_interval",
    ("save_every", "save_steps", "checkpoint_interval", "ckpt_interval", "save_freq", "always_save_checkpoint"):
        "save_interval",
    ("save_total_limit", "keep", "max_checkpoints"): "keep_last",
    ("wandb", "wandb_log", "report_to", "use_wandb", "tensorboard", "logger"): "tracker (none, wandb or tensorboard)",
    ("random_seed", "manual_seed"): "seed",
    ("max_length", "max_tokens", "length", "n_predict", "num_tokens", "max_gen_len"): "max_new_tokens",
    ("start", "text", "input_text", "prompt_text"): "prompt | text_key",
    ("temp",): "temperature",
    ("n_samples", "num_return_sequences", "samples", "nsamples"): "num_samples",
    ("repeat_penalty",): "repetition_penalty",
    ("stop_token", "stop_sequence", "stop_sequences", "stop_words"): "stop",
    ("chat",): "interactive",
    ("vocab", "n_vocab"): "vocab_size",
    ("tokenizer_name", "tokenizer_path", "encoding"): "tokenizer",
    ("val_split", "val_ratio", "validation_split", "test_size", "val_size", "holdout"): "val_fraction",
    ("num_workers", "n_workers", "num_proc", "processes", "jobs", "j", "n_jobs", "nproc"): "workers",
    ("text_column", "text_field", "json_key", "json_keys", "column", "field"): "text_key",
    ("dedup", "deduplicate", "minhash"): "near_duplicates",
    ("benchmark", "task", "eval_tasks"): "tasks",
    ("quantization", "quantize", "outtype", "quant"): "dtype | weights (int8)",
    ("price", "cost", "cost_per_hour"): "price_per_hour",
}  # fmt: skip
"""What settings are called in nanoGPT, transformers, lm-eval, llama.cpp and the like -> the name
here, with a word if it is not the same thing. Commands differ, so there may be several, between
bars; those that the command has are shown."""

ELSEWHERE = {theirs: ours for names, ours in OURS.items() for theirs in names}


def field_names(config_class: type, prefix: str = "", *, nested: bool = True) -> list[str]:
    """Return the names of all fields of a settings class; a nested one is `model.n_layer`."""
    return [name for name, _ in field_kinds(config_class, prefix, nested=nested)]


def field_kinds(config_class: type, prefix: str = "", *, nested: bool = True) -> list[tuple[str, Any]]:
    """Return name and type of all fields of a settings class; a nested one is `model.n_layer`."""
    kinds: list[tuple[str, Any]] = []
    for name, kind in get_type_hints(config_class).items():
        if nested and dataclasses.is_dataclass(kind):
            kinds += field_kinds(kind, f"{prefix}{name}.")  # type: ignore[arg-type]
        else:
            kinds.append((prefix + name, kind))
    return kinds


def unknown(name: str, known: Iterable[str]) -> str:
    """Return the sentence for a name that no setting has, with the closest that there is."""
    known = list(known)
    plain = name.lower().replace("-", "_")
    ours = [name for name in ELSEWHERE.get(plain, "").split(" | ") if name.partition(" ")[0] in known]
    groups = [full for full in known if full.startswith(f"{plain}.")]
    leaves = [full for full in known if full.rpartition(".")[2] == plain.rpartition(".")[2]]
    if leaves or plain in known:
        hint = f' Did you mean "{plain if plain in known else leaves[0]}"?'
    elif ours:
        hint = f" Here it is {' or '.join(ours)}."
    elif groups:
        hint = f" It is a group of settings: {', '.join(groups)}."
    elif plain.startswith("no_") and plain[3:] in known:
        hint = f' Write "{plain[3:]}" and false.'
    else:
        hint = closest(plain, known)
    return f'unknown setting "{name}".{hint}'
