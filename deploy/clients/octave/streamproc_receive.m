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
      part = typecast (part, spec.class);
      if (spec.shaped)
        part = shaped (part, spec);
      endif
      frame.samples.(spec.name) = part;
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

function samples = shaped (samples, spec)
  if (spec.dtype(1) == "c")
    samples = complex (samples(1:2:end), samples(2:2:end));
  elseif (spec.dtype(1) == "b")
    samples = logical (samples);
  endif
  dims = numel (spec.sizes);
  if (dims == 2)
    samples = reshape (samples, spec.sizes([2 1])).';
  elseif (dims > 2)
    samples = permute (reshape (samples, spec.sizes(end:-1:1)), dims:-1:1);
  endif
endfunction
