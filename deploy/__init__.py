"""How the project is run beside Kafka. Not part of the installed package."""
