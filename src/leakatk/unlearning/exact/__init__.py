"""Exact unlearning: training so laid out that a deletion leaves bit for bit what training without it leaves."""
