"""OpenAI's API, as their client, lm-eval and most other programs use it."""
