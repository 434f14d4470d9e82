"""Workers beside a real broker, measured as a deployment runs them."""
