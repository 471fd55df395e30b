"""leak@k from arrays of scores: estimates, intervals, bounds, forecasts. NumPy and SciPy only."""
