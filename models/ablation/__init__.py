"""Does it help to train on made-up cases too? The same patients, seconds and seed, with and without.

It belongs to the development of a network and is no part of the service, which never imports it.
"""
