"""The model: token ids in, logits or a loss out.

Modules:
    gpt       `GPT` and its blocks: initialisation, forward pass, FLOPs and bytes
    parts     norms, feed-forward networks, positions and attention
    variants  the tables by which a setting chooses a part
    kv_cache  keys and values of the tokens that the model has read
    adapters  changes of low rank (LoRA), and a plain model made of a fine-tuned one
    fast      attention, loss and linear layers that are fast on a CPU
"""
