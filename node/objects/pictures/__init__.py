"""Results for people whose PACS shows neither segmentations nor reports: key images, and a document."""
