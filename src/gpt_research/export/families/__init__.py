"""Families of models that other programs know, one file for each shape, and their table.

Modules:
    table         `FAMILIES`; which family a model belongs to, or what stands in its way
    family        what a family says of itself, for transformers and for llama.cpp
    gpt2          GPT-2
    llama         Llama, and Qwen3, which differs by norms of queries and keys
    names         parameter names, ours and theirs, both ways
    gpt2_layouts  the layouts in which GPT-2's weights are stored elsewhere
"""
