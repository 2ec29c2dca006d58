"""What people do with a node: routes, status, checks, submitting a folder."""
