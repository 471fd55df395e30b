"""Generated worlds: invented facts, so that the retrained model and the truth are known."""
