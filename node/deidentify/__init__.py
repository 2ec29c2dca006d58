"""Objects and images that leave the house for somebody who is not to know whose they are (PS3.15 Annex E)."""
