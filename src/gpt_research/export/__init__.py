"""Models to and from other programs: transformers, llama.cpp, nanoGPT, plain safetensors.

Modules:
    exporting     `FORMATS`, the table of formats, and the way of an export
    importing     makes a run folder from foreign weights
    classifier    a fine-tuned classifier for transformers
    hf            Hugging Face's layout
    gguf          llama.cpp's file
    gguf_tokenizer  the tokenizer inside
    plain         our own names in safetensors
    gguf_of_run   the GGUF file that `generate --engine llamacpp` keeps in a run folder
    proof         compares what another program computes with our model
    families      which models other programs know, and their names and layouts there
    model_card    README.md of an export
    tensor_files  reads safetensors and JSON from elsewhere
    new_folder    a folder that appears whole or not at all
"""
