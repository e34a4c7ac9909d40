## Beside `streamproc run deploy/clients/tracker.toml`: octave-cli live.m
pkg load zeromq
addpath (fileparts (mfilename ("fullpath")));
to = zmq_socket (ZMQ_PUSH);    zmq_connect (to, "tcp://127.0.0.1:5555");
from = zmq_socket (ZMQ_PULL);  zmq_connect (from, "tcp://127.0.0.1:5556");
for n = 0:999
  seen = [0.01 * n, 0.02 * n, 20];
  streamproc_send (to, "octave", n, uint64 (time () * 1e6) * 1000, seen);
  estimate = streamproc_receive (from, 60);
  if (! isempty (estimate))
    printf ("%g\n", estimate.samples.x(1));
  endif
endfor
