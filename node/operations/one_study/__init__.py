"""One study: all that is known of it, for its page and for `planimeter study`."""
