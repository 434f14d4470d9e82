"""Motion and measurement models, and the Kalman kernels on rows of a track bank, in textbook names (x, P, F, Q, H, R)."""
