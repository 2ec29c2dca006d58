"""How studies are got from a PACS: asked for by C-FIND or QIDO-RS, retrieved by C-MOVE, C-GET or WADO-RS."""
