"""Late looks: what the lag window keeps, and how a difference is carried forward through it."""
