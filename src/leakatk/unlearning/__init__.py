"""Unlearning: losses, gradient combiners, schedules, the trainer, and methods as presets over them."""
