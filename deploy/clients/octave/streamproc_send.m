## ok = streamproc_send (socket, stream, seq, t0_ns, samples, wait_s = Inf)
##
## One frame to a `zmq.source`, over a connected ZMQ_PUSH socket of the package zeromq.
## A vector has one dim, a matrix those it has. Waits while ZeroMQ's queue (1000 parts)
## is full, at most wait_s; false: nothing went out, send the same frame again. A seq
## that is left out shows to the graph as a frame that got lost.
function ok = streamproc_send (socket, stream, seq, t0_ns, samples, wait_s = Inf)
  persistent DONTWAIT = ZMQ_DONTWAIT;
  persistent MORE = bitor (ZMQ_DONTWAIT, ZMQ_SNDMORE);
  persistent codes = struct ("double", "f8", "single", "f4", "logical", "b1", ...
                             "int8", "i1", "int16", "i2", "int32", "i4", "int64", "i8", ...
                             "uint8", "u1", "uint16", "u2", "uint32", "u4", "uint64", "u8");
  kind = class (samples);
  if (! isfield (codes, kind))
    error ("streamproc:wire", "samples of class %s do not travel", kind);
  endif
  dtype = codes.(kind);
  sizes = size (samples);
  if (isvector (samples))
    sizes = numel (samples);
  else                                  # rows first, as C has it
    samples = permute (samples, ndims (samples):-1:1);
  endif
  if (iscomplex (samples))
    samples = [real(samples(:))'; imag(samples(:))'];
    dtype = ["c", num2str(2 * str2double (dtype(2)))];
  elseif (islogical (samples))
    samples = uint8 (samples);
  endif
  head = streamproc_encode (stream, seq, t0_ns, dtype, sizes);
  since = [];
  while (! (ok = zmq_send (socket, head, MORE) >= 0))
    if (isempty (since))
      since = tic ();
    endif
    if (toc (since) >= wait_s)
      return;
    endif
    pause (0.0005);
  endwhile
  zmq_send (socket, typecast (samples(:)', "uint8"), DONTWAIT);
endfunction
