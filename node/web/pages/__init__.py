"""The pages, each group of them in a room of its own; `site.py` finds them by their ROUTES."""
