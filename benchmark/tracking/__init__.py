"""What a study run leaves behind, and what resumes one: two protocols, and MLflow, which implements them."""
