"""Recorded feeds: one file a format, bytes in, looks out. A new format is one more file here, found by itself.

:mod:`~apss_fusion.feeds.base` says how a decoder is written, :mod:`~apss_fusion.feeds.registry` which there are,
:mod:`~apss_fusion.feeds.reading` opens inputs and reads them.
"""
