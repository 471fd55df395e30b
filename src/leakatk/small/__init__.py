"""Small models, trained from scratch on a CPU where the truth is known."""
