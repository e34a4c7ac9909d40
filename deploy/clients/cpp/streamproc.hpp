// Frames to and from a streamproc daemon: wire version 1, in one file.
// C++17, libzmq and its C++ header (Debian: cppzmq-dev). Link with -lzmq -pthread.
//
//   zmq::context_t context;
//   streamproc::Sender sensor(context, "tcp://127.0.0.1:5555", "mine");
//   streamproc::Receiver estimates(context, "tcp://127.0.0.1:5556");
//
// Flow control. Sender waits while its queue and the sockets are full: a slow graph slows
// it, nothing is thrown away. Receiver must be read while frames are sent: the sink holds
// few, and gives up on a reader after its timeout_s. A socket belongs to one thread.
//
// What can be lost. Plain ZeroMQ has no acks: when the process that listens is killed, what
// lies in its sockets dies with it, and the next frame is flagged GAP. A window bounds it:
// send frame n when the estimate of frame n - 256 is back, as track.cpp does.
#pragma once
#include <zmq.hpp>

#include <chrono>
#include <complex>
#include <cstdint>
#include <cstring>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "samples travel little-endian; this machine would have to swap them"
#endif

namespace streamproc {

// Bytes that are no frame of wire version 1, or a header that cannot be one.
struct WireError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

enum Flag : std::uint8_t { END = 1, GAP = 2, DEGRADED = 4, QUARANTINED = 8 };
constexpr std::size_t max_header_bytes = 4096, max_arrays = 64, max_dims = 8, max_name = 256;
constexpr std::uint64_t max_frame_bytes = 1 << 30, max_number = ~std::uint64_t{0} >> 1;

using Shape = std::vector<std::uint64_t>;

struct ArraySpec {
  std::string name;   // most frames have one, called "data"
  std::string dtype;  // u1 i1 i2 u2 i4 u4 i8 u8 f4 f8 c8 c16 b1
  Shape shape;
};

// seq counts the sender's frames; t0_ns is when the first sample was taken (UTC), t_in_ns
// the receiving host's monotonic clock. What is not known is left out.
struct Header {
  std::string stream;
  std::optional<std::uint64_t> seq, t0_ns, t_in_ns;
  std::uint8_t flags = 0;
  std::vector<ArraySpec> arrays;
  std::string meta;  // a MessagePack map as it came; empty: none
};

inline std::size_t item_bytes(std::string_view dtype) {
  constexpr std::pair<std::string_view, std::size_t> known[] = {
      {"u1", 1}, {"i1", 1}, {"b1", 1}, {"i2", 2}, {"u2", 2}, {"i4", 4}, {"u4", 4},
      {"f4", 4}, {"i8", 8}, {"u8", 8}, {"f8", 8}, {"c8", 8}, {"c16", 16}};
  for (const auto& [code, bytes] : known)
    if (code == dtype) return bytes;
  throw WireError("dtype " + std::string(dtype.substr(0, 16)) + " is not of the wire");
}

template <class T> const char* dtype_of() {
  if constexpr (std::is_same_v<T, bool>) return "b1";
  else if constexpr (std::is_same_v<T, float>) return "f4";
  else if constexpr (std::is_same_v<T, double>) return "f8";
  else if constexpr (std::is_same_v<T, std::complex<float>>) return "c8";
  else if constexpr (std::is_same_v<T, std::complex<double>>) return "c16";
  else {
    static_assert(std::is_integral_v<T> && sizeof(T) <= 8, "no dtype for this type");
    constexpr const char* codes[2][4] = {{"u1", "u2", "u4", "u8"}, {"i1", "i2", "i4", "i8"}};
    constexpr int size = sizeof(T) == 1 ? 0 : sizeof(T) == 2 ? 1 : sizeof(T) == 4 ? 2 : 3;
    return codes[std::is_signed_v<T>][size];
  }
}

inline std::uint64_t now_ns() {  // UTC
  using namespace std::chrono;
  return static_cast<std::uint64_t>(
      duration_cast<nanoseconds>(system_clock::now().time_since_epoch()).count());
}

// Bytes an array needs; WireError where that is more than a frame may have.
inline std::uint64_t array_bytes(const ArraySpec& spec) {
  if (spec.shape.size() > max_dims) throw WireError(spec.name + ": too many dims");
  std::uint64_t all = item_bytes(spec.dtype), room = all;
  for (std::uint64_t size : spec.shape) {  // a size of 0 must not hide the others
    if (size > max_frame_bytes || room * (size ? size : 1) > max_frame_bytes)
      throw WireError(spec.name + ": larger than a frame may be");
    room *= size ? size : 1;
    all *= size;
  }
  return all;
}

namespace detail {

// Reads MessagePack, as much of it as a header may hold, and nothing beyond its end.
class Unpacker {
 public:
  Unpacker(const void* data, std::size_t size)
      : at_(static_cast<const std::uint8_t*>(data)), end_(at_ + size) {}

  bool over() const { return at_ == end_; }

  std::uint64_t array(std::size_t most) {
    const std::uint8_t tag = byte();
    if ((tag & 0xF0) != 0x90 && tag != 0xDC && tag != 0xDD) fail("expected an array");
    const std::uint64_t count = tag < 0xDC ? tag & 0x0F : big(tag == 0xDC ? 2 : 4);
    return count <= most ? count : fail("too long an array");
  }

  std::optional<std::uint64_t> number_or_nil(std::uint64_t most) {
    if (at_ == end_ || *at_ != 0xC0) return number(most);
    ++at_;
    return std::nullopt;
  }

  std::uint64_t number(std::uint64_t most) {
    const std::uint8_t tag = byte();
    std::uint64_t value = tag;
    if (tag >= 0xCC && tag <= 0xD3) {
      const std::size_t bytes = std::size_t{1} << (tag & 3);
      value = big(bytes);
      if (tag >= 0xD0 && value >> (8 * bytes - 1)) fail("a negative number");
    } else if (tag > 0x7F) fail("expected a whole number");
    return value <= most ? value : fail("too large a number");
  }

  std::string text(std::size_t most_chars) {
    const std::uint8_t tag = byte();
    if ((tag & 0xE0) != 0xA0 && (tag < 0xD9 || tag > 0xDB)) fail("expected a string");
    const std::uint64_t bytes = tag < 0xD9 ? tag & 0x1F : big(std::size_t{1} << (tag - 0xD9));
    const std::string read(reinterpret_cast<const char*>(take(bytes)), bytes);
    if (characters(read) > most_chars) fail("too long a string");
    return read;
  }

  // A map of strings to plain values, nested a little at most; its bytes as they are.
  std::string meta() {
    if (at_ != end_ && *at_ == 0xC0) return ++at_, std::string();
    const std::uint8_t* first = at_;
    if (at_ == end_ || !((*at_ & 0xF0) == 0x80 || *at_ == 0xDE || *at_ == 0xDF))
      fail("meta: expected a map or nil");
    value(0);
    return std::string(reinterpret_cast<const char*>(first), at_ - first);
  }

 private:
  enum : std::uint64_t { max_depth = 4, max_items = 256 };
  [[noreturn]] static std::uint64_t fail(const char* why) {
    throw WireError(std::string("header: ") + why);
  }
  const std::uint8_t* take(std::uint64_t count) {
    if (count > static_cast<std::uint64_t>(end_ - at_)) fail("ends too early");
    at_ += count;
    return at_ - count;
  }
  std::uint8_t byte() { return *take(1); }
  std::uint64_t big(std::size_t bytes) {
    std::uint64_t value = 0;
    for (const std::uint8_t* one = take(bytes); bytes--; ++one) value = value << 8 | *one;
    return value;
  }

  void value(std::uint64_t depth) {
    if (depth > max_depth) fail("meta: nested too deeply");
    const std::uint8_t tag = at_ == end_ ? byte() : *at_;
    if ((tag & 0xF0) == 0x80 || tag == 0xDE || tag == 0xDF) return map(depth);
    if ((tag & 0xF0) == 0x90 || tag == 0xDC || tag == 0xDD) return list(depth);
    if ((tag & 0xE0) == 0xA0 || (tag >= 0xD9 && tag <= 0xDB))
      return (void)text(max_header_bytes);
    ++at_;
    if (tag >= 0xC4 && tag <= 0xC6) take(big(std::size_t{1} << (tag - 0xC4)));
    else if (tag >= 0xCC && tag <= 0xD3) take(std::size_t{1} << (tag & 3));
    else if (tag == 0xCA || tag == 0xCB) take(tag == 0xCA ? 4 : 8);
    else if (tag > 0x7F && tag < 0xE0 && tag != 0xC0 && tag != 0xC2 && tag != 0xC3)
      fail("meta: expected plain values");
  }

  void list(std::uint64_t depth) {
    for (std::uint64_t left = array(max_items); left--;) value(depth + 1);
  }
  void map(std::uint64_t depth) {
    const std::uint8_t tag = byte();
    std::uint64_t left = tag == 0xDE ? big(2) : tag == 0xDF ? big(4) : tag & 0x0F;
    if (left > max_items) fail("meta: too large a map");
    while (left--) {
      text(max_header_bytes);
      value(depth + 1);
    }
  }

  // Of UTF-8, which a string must be.
  static std::size_t characters(const std::string& text) {
    std::size_t count = 0;
    for (std::size_t at = 0; at < text.size(); ++count) {
      const auto byte = [&](std::size_t n) {
        return at + n < text.size() ? static_cast<std::uint8_t>(text[at + n]) : 0u;
      };
      const unsigned lead = byte(0);
      const std::size_t more = lead < 0x80 ? 0 : lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : 3;
      std::uint32_t code = more ? lead & (0x3F >> more) : lead;
      for (std::size_t n = 1; n <= more; ++n) {
        if ((byte(n) & 0xC0) != 0x80) fail("a string that is no UTF-8");
        code = code << 6 | (byte(n) & 0x3F);
      }
      constexpr std::uint32_t least[] = {0, 0x80, 0x800, 0x10000};
      if ((lead >= 0x80 && lead < 0xC2) || lead > 0xF4 || code < least[more] ||
          code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
        fail("a string that is no UTF-8");
      at += more + 1;
    }
    return count;
  }

  const std::uint8_t *at_, *end_;
};

inline void put_big(std::string& out, std::uint64_t value, int bytes) {
  while (bytes--) out += static_cast<char>(value >> (8 * bytes) & 0xFF);
}
inline void put_number(std::string& out, std::optional<std::uint64_t> value) {
  if (!value) out += '\xC0';
  else if (*value < 0x80) out += static_cast<char>(*value);
  else put_big(out += '\xCF', *value, 8);
}
inline void put_text(std::string& out, const std::string& text) {
  if (text.size() < 32) out += static_cast<char>(0xA0 | text.size());
  else put_big(out += '\xDA', text.size(), 2);
  out += text;
}
inline void put_array(std::string& out, std::size_t count) {
  if (count < 16) out += static_cast<char>(0x90 | count);
  else put_big(out += '\xDC', count, 2);
}

}  // namespace detail

// A header from its bytes. WireError, and nothing else, whatever they are.
inline Header decode(const void* data, std::size_t size) {
  if (size > max_header_bytes) throw WireError("header: too long");
  detail::Unpacker in(data, size);
  if (in.array(8) != 8 || in.number(1) != 1)
    throw WireError("header: expected eight fields, version 1");
  Header header;
  header.stream = in.text(max_name);
  header.seq = in.number_or_nil(max_number);
  header.t0_ns = in.number_or_nil(max_number);
  header.t_in_ns = in.number_or_nil(max_number);
  header.flags = static_cast<std::uint8_t>(in.number(255));
  for (std::uint64_t left = in.array(max_arrays); left--;) {
    if (in.array(3) != 3) throw WireError("header: expected [name, dtype, shape]");
    ArraySpec spec;
    spec.name = in.text(max_name);
    spec.dtype = in.text(3);
    for (std::uint64_t dims = in.array(max_dims); dims--;)
      spec.shape.push_back(in.number(max_frame_bytes));
    array_bytes(spec);
    bool again = spec.name.empty();
    for (const ArraySpec& other : header.arrays) again |= other.name == spec.name;
    if (again) throw WireError("header: an array without a name of its own");
    header.arrays.push_back(std::move(spec));
  }
  header.meta = in.meta();
  if (!in.over()) throw WireError("header: bytes behind its end");
  return header;
}

// The bytes of a header. WireError where the daemon would refuse them.
inline std::string encode(const Header& header) {
  std::string out("\x98\x01", 2);
  if (header.stream.size() > max_header_bytes) throw WireError("stream: too long a name");
  detail::put_text(out, header.stream);
  detail::put_number(out, header.seq);
  detail::put_number(out, header.t0_ns);
  detail::put_number(out, header.t_in_ns);
  detail::put_number(out, header.flags);
  detail::put_array(out, header.arrays.size());
  for (const ArraySpec& spec : header.arrays) {
    detail::put_text(out += '\x93', spec.name);
    detail::put_text(out, spec.dtype);
    detail::put_array(out, spec.shape.size());
    for (std::uint64_t size : spec.shape) detail::put_number(out, size);
  }
  out += header.meta.empty() ? std::string(1, '\xC0') : header.meta;
  decode(out.data(), out.size());  // what we would not read we do not send
  return out;
}

// Frames to a `zmq.source` with socket = "pull".
class Sender {
 public:
  // queue: frames that may wait here on their way out.
  Sender(zmq::context_t& context, const std::string& endpoint, std::string stream,
         int queue = 1000)
      : socket_(context, zmq::socket_type::push) {
    socket_.set(zmq::sockopt::sndhwm, queue);
    socket_.set(zmq::sockopt::linger, 10000);  // ms for what is left when it closes
    socket_.connect(endpoint);
    header_.stream = std::move(stream);
    header_.arrays = {{"data", "", {}}};
  }

  // One frame: samples in C order. Waits for room, at most `wait_ms` (-1: for ever);
  // false when there was none, and the frame is still the caller's. WireError for a
  // frame that cannot be. t0_ns: when the first sample was taken; without it, now.
  template <class T>
  bool send(const T* samples, const Shape& shape,
            std::optional<std::uint64_t> t0_ns = std::nullopt, int wait_ms = -1) {
    header_.arrays[0].dtype = dtype_of<T>();
    header_.arrays[0].shape = shape;
    header_.t0_ns = t0_ns ? *t0_ns : now_ns();
    header_.seq = next_;
    const std::size_t bytes = array_bytes(header_.arrays[0]);
    const std::string head = encode(header_);
    if (wait_ms != waits_) socket_.set(zmq::sockopt::sndtimeo, waits_ = wait_ms);
    if (!socket_.send(zmq::buffer(head), zmq::send_flags::sndmore)) return false;
    socket_.send(zmq::buffer(samples, bytes), zmq::send_flags::none);
    ++next_;
    return true;
  }

  std::uint64_t sent() const { return next_; }

 private:
  zmq::socket_t socket_;
  Header header_;
  std::uint64_t next_ = 0;
  int waits_ = -1;
};

struct Frame {
  Header header;
  std::vector<zmq::message_t> parts;  // one per array

  // The samples of an array, C order. WireError where there is none of this type.
  template <class T> std::vector<T> get(std::string_view name = "data") const {
    static_assert(!std::is_same_v<T, bool>, "vector<bool> has no bytes: read b1 of `parts`");
    for (std::size_t n = 0; n < parts.size(); ++n) {
      const ArraySpec& spec = header.arrays[n];
      if (spec.name != name) continue;
      if (spec.dtype != dtype_of<T>())
        throw WireError(spec.name + ": holds " + spec.dtype + ", not " + dtype_of<T>());
      std::vector<T> made(parts[n].size() / sizeof(T));
      if (!made.empty()) std::memcpy(made.data(), parts[n].data(), parts[n].size());
      return made;
    }
    throw WireError("no array called " + std::string(name));
  }
};

// Frames from a `zmq.sink` with socket = "push".
class Receiver {
 public:
  Receiver(zmq::context_t& context, const std::string& endpoint, int queue = 1000)
      : socket_(context, zmq::socket_type::pull) {
    socket_.set(zmq::sockopt::rcvhwm, queue);
    socket_.set(zmq::sockopt::linger, 0);
    socket_.set(zmq::sockopt::maxmsgsize, static_cast<std::int64_t>(max_frame_bytes));
    socket_.connect(endpoint);
  }

  // The next frame, waited for at most `wait_ms` (-1: for ever); nothing if none came.
  // WireError for what is no frame; the one after it can be received.
  std::optional<Frame> receive(int wait_ms = -1) {
    if (wait_ms != waits_) socket_.set(zmq::sockopt::rcvtimeo, waits_ = wait_ms);
    zmq::message_t head;
    if (!socket_.recv(head, zmq::recv_flags::none)) return std::nullopt;
    Frame frame;
    std::size_t came = 0;
    for (bool more = head.more(); more; ++came) {
      zmq::message_t part;
      (void)socket_.recv(part, zmq::recv_flags::none);
      more = part.more();
      if (came < max_arrays) frame.parts.push_back(std::move(part));
    }
    frame.header = decode(head.data(), head.size());
    if (came != frame.header.arrays.size()) throw WireError("parts: not as announced");
    for (std::size_t n = 0; n < came; ++n)
      if (frame.parts[n].size() != array_bytes(frame.header.arrays[n]))
        throw WireError(frame.header.arrays[n].name + ": not as many bytes as announced");
    return frame;
  }

 private:
  zmq::socket_t socket_;
  int waits_ = -1;
};

}  // namespace streamproc
