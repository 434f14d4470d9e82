"""Which detection belongs to which track: gating by H3 cell and ellipse, clusters, belief propagation."""
