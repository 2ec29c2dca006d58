"""What people read of a comparison: a page, a document, and the card of a version."""
