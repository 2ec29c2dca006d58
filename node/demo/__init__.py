"""`planimeter demo`: a node, a toy PACS and a study, end to end, in two minutes on a laptop."""
