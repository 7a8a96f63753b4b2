"""The `generate` command over engines: our own model, or llama.cpp on an export of it."""
