"""Drawing: which prompts a step trains on, where a method says so by itself."""
