"""Writing to MLflow: the one package of `benchmark` that imports it, lazily, for that takes seconds."""
