"""The boundary of a mask: contours in a structure set for radiotherapy, a surface for surgical planning."""
