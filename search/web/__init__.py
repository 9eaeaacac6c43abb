"""optuna-dashboard on a store, and what stands before it."""
