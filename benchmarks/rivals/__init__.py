"""Other trackers to compare with: they read plots, know nothing of the engine, and run in processes of their own."""
