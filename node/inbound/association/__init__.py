"""One connection of a peer, from its first byte to its last: bytes, PDUs, request, messages, and the loop over them.

connection   bytes with deadlines                          (transport)
pdu          PS3.8 9.3: headers, PDVs, and what we answer   pure, over bytes
request      the A-ASSOCIATE-RQ, before anything is made of it   pure
negotiation  what pynetdicom answers to it, without its threads
command      PS3.7 6.3: command sets                        pure
message      fragments into messages (PS3.8 Annex E)        pure
data_set     where the data of a message goes: spool file, memory, nowhere
serving      the loop; `stock` is pynetdicom's in its place
"""
