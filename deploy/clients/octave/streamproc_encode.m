## bytes = streamproc_encode (stream, seq, t0_ns, dtype, sizes)
##
## Header of a frame with one array "data", wire version 1, as a row of uint8.
## seq counts your frames; t0_ns is when the first sample was taken (UTC): both uint64,
## both exact only as such. Headers of one stream differ in these two alone, so the rest
## is made once.
function bytes = streamproc_encode (stream, seq, t0_ns, dtype, sizes)
  persistent made = uint8 ([]);         # a header made before, and of what
  persistent of_stream of_dtype of_sizes places;
  if (isempty (made) || ! strcmp (stream, of_stream) || ! strcmp (dtype, of_dtype) ...
      || numel (sizes) != numel (of_sizes) || any (sizes != of_sizes))
    if (numel (stream) > 256 || numel (sizes) > 8)
      error ("streamproc:wire", "stream: a short name, sizes: at most 8 of them");
    endif
    shape = arrayfun (@(n) [uint8(0xCE), big(uint32 (n))], sizes(:)', ...
                      "UniformOutput", false);
    before = [uint8([0x98 1]), text(stream)];
    number = [uint8(0xCF), zeros(1, 8, "uint8")];
    made = [before, number, number, uint8([0xC0 0 0x91 0x93]), text("data"), ...
            text(dtype), uint8(0x90 + numel (sizes)), shape{:}, uint8(0xC0)];
    places = numel (before) + [9:-1:2, 18:-1:11];
    [of_stream, of_dtype, of_sizes] = deal (stream, dtype, sizes);
  endif
  bytes = made;
  bytes(places) = typecast ([uint64(seq), uint64(t0_ns)], "uint8");
endfunction

function bytes = text (string)
  bytes = uint8 (string);
  bytes = [uint8(0xDA), big(uint16 (numel (bytes))), bytes(:)'];
endfunction

function bytes = big (number)
  bytes = fliplr (typecast (number, "uint8"));
endfunction
