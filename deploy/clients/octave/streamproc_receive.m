## frame = streamproc_receive (socket, wait_s = 0)
##
## The next frame of a `zmq.sink`, from a connected ZMQ_PULL socket of the package zeromq;
## [] if none came within wait_s. A struct as streamproc_decode gives it, whose `samples`
## has one field for each array: an array of several dims has them as NumPy has. An
## error "streamproc:wire" for what is no frame; the one after it can be received.
function frame = streamproc_receive (socket, wait_s = 0)
  persistent MORE = ZMQ_RCVMORE;
  frame = [];
  if (! zmq_poll (socket, round (1000 * min (wait_s, 1e6))))
    return;
  endif
  unwind_protect
    frame = streamproc_decode (zmq_recv (socket, 4097));
    for spec = frame.arrays
      if (! zmq_getsockopt (socket, MORE))
        error ("streamproc:wire", "fewer parts than arrays");
      endif
      part = zmq_recv (socket, spec.bytes + 1);
      if (numel (part) != spec.bytes)
        error ("streamproc:wire", "%s: not as many bytes as announced", spec.name);
      endif
      frame.samples.(spec.name) = shaped (part, spec);
    endfor
    if (zmq_getsockopt (socket, MORE))
      error ("streamproc:wire", "more parts than arrays");
    endif
  unwind_protect_cleanup
    while (zmq_getsockopt (socket, MORE))
      zmq_recv (socket, 1);
    endwhile
  end_unwind_protect
endfunction

function samples = shaped (part, spec)
  persistent classes = struct ("u1", "uint8", "i1", "int8", "u2", "uint16", "i2", "int16", ...
                               "u4", "uint32", "i4", "int32", "u8", "uint64", ...
                               "i8", "int64", "f4", "single", "f8", "double", ...
                               "c8", "single", "c16", "double", "b1", "uint8");
  samples = typecast (part, classes.(spec.dtype));
  if (spec.dtype(1) == "c")
    samples = complex (samples(1:2:end), samples(2:2:end));
  elseif (spec.dtype(1) == "b")
    samples = logical (samples);
  endif
  dims = numel (spec.sizes);
  if (dims > 1)
    samples = permute (reshape (samples, fliplr (spec.sizes)), dims:-1:1);
  endif
endfunction
