"""The Poisson multi-Bernoulli filter over looks: track bank, existence, undetected intensity, and the `Engine`."""
