"""A hyperparameter-search service for small networks that proves its winner."""
