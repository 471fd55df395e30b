"""RULE: rounds of sampling, detection and unlearning (our reconstruction)."""
