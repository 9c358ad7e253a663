"""The HTTP side: an endpoint plugin for vLLM's own OpenAI-compatible server."""
