"""How instances come in: who may send, the C-STORE SCP's handler, the proof that a data set is whole."""
