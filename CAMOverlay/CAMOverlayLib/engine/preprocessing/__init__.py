"""The chain: run and recorded step by step."""
