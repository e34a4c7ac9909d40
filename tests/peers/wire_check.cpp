// Headers on stdin, each behind its length (u32): what streamproc.hpp makes of them, a
// line each: `refused`, or the header written anew, as hexadecimal digits.
#include "streamproc.hpp"

#include <cstdio>

int main() {
  std::uint32_t size;
  while (std::fread(&size, sizeof size, 1, stdin) == 1) {
    std::string head(size, '\0');
    if (std::fread(head.data(), 1, size, stdin) != size) return 1;
    try {
      const std::string copy = streamproc::encode(streamproc::decode(head.data(), size));
      for (unsigned char byte : copy) std::printf("%02x", byte);
      std::puts("");
    } catch (const streamproc::WireError&) {
      std::puts("refused");
    }
  }
}
