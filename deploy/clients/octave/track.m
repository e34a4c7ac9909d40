## Recorded observations through a tracker that runs elsewhere, as fast as it takes them.
##
##   octave-cli track.m IN OUT COMPONENTS OBSERVATIONS ESTIMATES
##
## OBSERVATIONS: f8, COMPONENTS a row. ESTIMATES: every array of every frame that came
## back, as bytes, in order. One thread does both, so no more than WINDOW observations are
## ever under way: the estimates that come back say how many more may go. Exit status 1
## where not one estimate came back for each observation.
pkg load zeromq
addpath (fileparts (mfilename ("fullpath")));
WINDOW = 256;
PATIENCE_S = 60;
FIRST_NS = uint64 (1700000000) * 1000000000;
PERIOD_NS = uint64 (1000000);

if (numel (argv ()) != 5)
  fputs (stderr, "usage: octave-cli track.m IN OUT COMPONENTS OBSERVATIONS ESTIMATES\n");
  exit (2);
endif
[in, out, width, observations, estimates] = argv (){:};
width = str2double (width);
[file, why] = fopen (observations, "r");
if (file < 0)
  fprintf (stderr, "track: %s: %s\n", observations, why);
  exit (2);
endif
seen = reshape (fread (file, Inf, "double"), width, []);
fclose (file);
count = columns (seen);

to = zmq_socket (ZMQ_PUSH);
zmq_connect (to, in);
from = zmq_socket (ZMQ_PULL);
zmq_connect (from, out);
file = fopen (estimates, "w");
begun = tic ();
sent = came = again = 0;
while (came < count)
  while (sent < count && sent - came < WINDOW)
    t0_ns = FIRST_NS + sent * PERIOD_NS;
    if (! streamproc_send (to, "octave", sent, t0_ns, seen(:, sent + 1), PATIENCE_S))
      break;
    endif
    sent += 1;
  endwhile
  frame = streamproc_receive (from, PATIENCE_S);
  if (isempty (frame) || frame.t0_ns > FIRST_NS + came * PERIOD_NS)
    break;                              # nothing any more, or one is missing
  elseif (frame.t0_ns < FIRST_NS + came * PERIOD_NS)
    again += 1;                         # sent twice by a daemon that was killed
    continue;
  endif
  for spec = frame.arrays
    samples = frame.samples.(spec.name);
    fwrite (file, permute (samples, ndims (samples):-1:1), "double");
  endfor
  came += 1;
endwhile
fclose (file);
took_s = toc (begun);
printf ("sent %d, read %d, %.1f s, %.0f frames/s\n", sent, came, took_s, came / took_s);
if (again)
  printf ("again %d\n", again);
endif
exit (came < count);
