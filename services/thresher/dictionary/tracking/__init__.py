"""What a run says of itself while it trains: JSON lines in the store, TensorBoard, MLflow."""
