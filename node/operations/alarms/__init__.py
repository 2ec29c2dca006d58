"""Alarms: what is wrong (`findings`), whether people are told of it (`plan`, `incidents`), and how (`post`)."""
