"""``python -m apss_fusion.cli``: the same as ``apss-fusion``."""

from apss_fusion.cli import main

if __name__ == "__main__":
    main()
