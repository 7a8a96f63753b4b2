"""Models to and from other programs: transformers, llama.cpp, nanoGPT, plain safetensors."""
