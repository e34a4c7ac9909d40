"""How frames cross between processes. The only folder that imports zmq.

`protocol` is the edge as a pure state machine, `notes` its bytes, `sockets` the
thin layer that moves them, `plain` the two-part sockets for other programs.
"""
