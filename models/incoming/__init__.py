"""Bundles that come from elsewhere: unpacked, looked at without running anything of them, and given a card."""
