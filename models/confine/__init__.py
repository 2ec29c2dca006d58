"""A process that takes rights from itself before it touches what strangers made: a bundle, a compressed image.

What the kernel cannot take away is named, never passed over. Knows Linux, and nothing of images, torch or this node.
"""
