"""`planimeter doctor`: what a peer can do for us, asked of the peer itself, and nothing left there."""
