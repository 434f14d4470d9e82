"""Beside Kafka: topics, decode and fuse agents that lose nothing and say nothing twice, and what keeps them running."""
