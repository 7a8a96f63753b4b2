"""Models out of and into other programs: Hugging Face transformers, llama.cpp, nanoGPT, plain safetensors."""
