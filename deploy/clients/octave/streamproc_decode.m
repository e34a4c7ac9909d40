## header = streamproc_decode (bytes)
##
## Header of a frame, wire version 1: stream, seq, t0_ns, t_in_ns (uint64, [] where the
## sender knew none), flags (1 end, 2 gap before it, 4 degraded, 8 quarantined), arrays
## (name, dtype, sizes, bytes, class of their parts, whether they are more than a vector
## of it). An error "streamproc:wire", whatever else the bytes are.
## Headers of one stream differ in four numbers: the rest is read once.
function header = streamproc_decode (bytes)
  persistent last = uint8 ([]);         # a header read before, its numbers zero
  persistent kept from to small known;
  if (! isempty (last) && numel (bytes) == numel (last) && isrow (bytes))
    bare = bytes;
    bare(from) = 0;
    if (all (bare == last) && all (bytes(small) < 128) && isa (bytes, "uint8"))
      raw = zeros (1, 32, "uint8");
      raw(to) = bytes(from);
      header = kept;
      numbers = typecast (raw, "uint64");
      header.seq = numbers(known{1});
      header.t0_ns = numbers(known{2});
      header.t_in_ns = numbers(known{3});
      header.flags = raw(25);
      return;
    endif
  endif
  [header, starts] = slowly (bytes);
  last = uint8 ([]);
  [from, to, small, known] = layout (bytes, starts);
  if (! isempty (known))
    kept = header;
    last = bytes;
    last(from) = 0;
  endif
endfunction

## Where the bytes of the four numbers are, which place each has among four little-endian
## uint64, which of them must stay below 128, and which of the four each number is: [] for
## nil. `known` is empty where a number is written as a signed one.
function [from, to, small, known] = layout (bytes, starts)
  from = to = small = [];
  known = {1, 2, 3, 4};
  for n = 1:4
    at = starts(n);
    tag = double (bytes(at));
    if (tag == 0xC0)
      known{n} = [];
    elseif (tag < 0x80)
      from(end + 1) = small(end + 1) = at;
      to(end + 1) = 8 * n - 7;
    elseif (tag <= 0xCF && (n < 4 || tag == 0xCC))
      width = 2 ^ (tag - 0xCC);
      from = [from, at + (width:-1:1)];
      to = [to, 8 * n - 8 + (1:width)];
      if (width == 8)
        small(end + 1) = at + 1;
      endif
    else
      known = {};
      return;
    endif
  endfor
endfunction

function [header, starts] = slowly (bytes)
  if (numel (bytes) > 4096 || ! isa (bytes, "uint8"))
    fail ("more than 4096 bytes");
  endif
  [count, at] = list (bytes, 1);
  [version, at] = number (bytes, at, 1);
  if (count != 8 || ! isequal (version, uint64 (1)))
    fail ("not eight fields, or not version 1");
  endif
  [header.stream, at] = text (bytes, at);
  most = intmax ("int64");
  starts(1) = at;
  [header.seq, at] = number (bytes, at, most);
  starts(2) = at;
  [header.t0_ns, at] = number (bytes, at, most);
  starts(3) = at;
  [header.t_in_ns, at] = number (bytes, at, most);
  starts(4) = at;
  [header.flags, at] = number (bytes, at, 255);
  header.flags = uint8 (header.flags);
  [count, at] = list (bytes, at);
  if (count > 64 || isempty (header.flags))
    fail ("too many arrays, or no flags");
  endif
  header.arrays = struct ("name", {}, "dtype", {}, "sizes", {}, "bytes", {}, ...
                          "class", {}, "shaped", {});
  for n = 1:count
    [header.arrays(n), at] = array (bytes, at);
  endfor
  if (numel (unique ({header.arrays.name})) != count)
    fail ("two arrays of one name");
  endif
  at = skip (bytes, at, 0);
  if (at != numel (bytes) + 1)
    fail ("bytes behind its end");
  endif
endfunction

function [spec, at] = array (bytes, at)
  persistent itemsize = struct ("u1", 1, "i1", 1, "b1", 1, "u2", 2, "i2", 2, "u4", 4, ...
                                "i4", 4, "f4", 4, "u8", 8, "i8", 8, "f8", 8, "c8", 8, ...
                                "c16", 16);
  persistent classes = struct ("u1", "uint8", "i1", "int8", "u2", "uint16", "i2", "int16", ...
                               "u4", "uint32", "i4", "int32", "u8", "uint64", ...
                               "i8", "int64", "f4", "single", "f8", "double", ...
                               "c8", "single", "c16", "double", "b1", "uint8");
  [fields, at] = list (bytes, at);
  if (fields != 3)
    fail ("an array is [name, dtype, sizes]");
  endif
  [spec.name, at] = text (bytes, at);
  [spec.dtype, at] = text (bytes, at);
  [dims, at] = list (bytes, at);
  if (! isfield (itemsize, spec.dtype) || isempty (spec.name) || dims > 8)
    fail ("an array without name or known dtype, or of too many dims");
  endif
  spec.sizes = zeros (1, dims);
  for n = 1:dims
    [size, at] = number (bytes, at, 2^30);
    if (isempty (size))
      fail ("a size that is nil");
    endif
    spec.sizes(n) = double (size);
  endfor
  spec.bytes = itemsize.(spec.dtype) * prod (spec.sizes);
  if (itemsize.(spec.dtype) * prod (max (spec.sizes, 1)) > 2^30)
    fail ("an array larger than a frame may be");
  endif
  spec.class = classes.(spec.dtype);
  spec.shaped = dims > 1 || any (spec.dtype(1) == "bc");
endfunction

function at = skip (bytes, at, depth)   # of a value in meta, which is not looked at
  tag = byte (bytes, at);
  if (depth > 4)
    fail ("meta nested too deeply");
  elseif (depth == 0 && tag == 0xC0)
    at += 1;
  elseif (bitand (tag, 0xF0) == 0x80 || tag == 0xDE || tag == 0xDF)
    [count, at] = counted (bytes, at, 0x0F, 0xDE, [2 4]);
    for n = 1:count
      [~, at] = text (bytes, at);
      at = skip (bytes, at, depth + 1);
    endfor
  elseif (depth == 0)
    fail ("meta is no map");
  elseif (bitand (tag, 0xF0) == 0x90 || tag == 0xDC || tag == 0xDD)
    [count, at] = list (bytes, at);
    for n = 1:count
      at = skip (bytes, at, depth + 1);
    endfor
  elseif (bitand (tag, 0xE0) == 0xA0 || (tag >= 0xD9 && tag <= 0xDB))
    [~, at] = text (bytes, at);
  elseif (tag >= 0xC4 && tag <= 0xC6)
    [count, at] = counted (bytes, at, 0, 0xC4, [1 2 4]);
    at += count;
  elseif (tag >= 0xCA && tag <= 0xD3)
    at += 1 + [4 8 1 2 4 8 1 2 4 8](tag - 0xC9);
  elseif (tag < 0x80 || tag >= 0xE0 || any (tag == [0xC0 0xC2 0xC3]))
    at += 1;
  else
    fail ("meta holds what is not plain");
  endif
endfunction

function [string, at] = text (bytes, at)
  tag = byte (bytes, at);
  if (! (bitand (tag, 0xE0) == 0xA0 || (tag >= 0xD9 && tag <= 0xDB)))
    fail ("expected a string");
  endif
  [count, at] = counted (bytes, at, 0x1F, 0xD9, [1 2 4]);
  if (count > 1024 || at + count - 1 > numel (bytes))
    fail ("a string that is too long");
  endif
  string = char (bytes(at : at + count - 1));
  at += count;
endfunction

function [count, at] = list (bytes, at)
  tag = byte (bytes, at);
  if (! (bitand (tag, 0xF0) == 0x90 || tag == 0xDC || tag == 0xDD))
    fail ("expected a list");
  endif
  [count, at] = counted (bytes, at, 0x0F, 0xDC, [2 4]);
  if (count > 256)
    fail ("too long a list");
  endif
endfunction

## A count that stands in the tag itself, or behind it in as many bytes as the tag says.
function [count, at] = counted (bytes, at, mask, first, widths)
  tag = byte (bytes, at);
  at += 1;
  if (tag >= first && tag < first + numel (widths))
    width = widths(tag - first + 1);
    byte (bytes, at + width - 1);
    count = double (big (bytes(at : at + width - 1)));
    at += width;
  else
    count = double (bitand (tag, mask));
  endif
endfunction

function [value, at] = number (bytes, at, most)
  tag = byte (bytes, at);
  at += 1;
  value = uint64 (tag);
  if (tag == 0xC0)
    value = [];
    return;
  elseif (tag >= 0xCC && tag <= 0xD3)
    width = 2 ^ mod (tag - double (0xCC), 4);  # 0xCC alone is a uint8, and saturates
    byte (bytes, at + width - 1);
    if (tag >= 0xD0 && bytes(at) > 127)
      fail ("a negative number");
    endif
    value = big (bytes(at : at + width - 1));
    at += width;
  elseif (tag > 0x7F)
    fail ("expected a whole number");
  endif
  if (value > most)
    fail ("too large a number");
  endif
endfunction

function value = big (bytes)
  value = typecast ([fliplr(bytes), zeros(1, 8 - numel (bytes), "uint8")], "uint64");
endfunction

function value = byte (bytes, at)
  if (at > numel (bytes))
    fail ("ends too early");
  endif
  value = double (bytes(at));
endfunction

function fail (why)
  error ("streamproc:wire", "header: %s", why);
endfunction
