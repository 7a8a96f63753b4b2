"""Generation: requests in, pieces of text out.

Modules:
    engine            the interface: `Request`, `Piece`, `Sample`, `GenerationEngine`
    torch_engine      the engine that runs our model; `generate` and `stream`
    decoder           prefill and decode with the KV cache
    draws             from logits to a token for each row
    sampling          temperature, top-k, top-p, min-p, repetition penalty, the draw
    static_step       decode and draw in fixed shapes, as one launch of a GPU
    static_sampling   `sampling` for rows with settings of their own, in fixed shapes
    recording         CUDA graphs, and what cannot be recorded
    sequence          one text while an engine generates it
    text_stream       from tokens to whole characters, and stop texts
    llama_cpp_engine  the engine that runs llama.cpp
    llama_cpp         a client of llama.cpp
"""
