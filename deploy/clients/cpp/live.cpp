// g++ -std=c++17 live.cpp -lzmq -pthread, beside `streamproc run ../tracker.toml`
#include "streamproc.hpp"
#include <cstdio>

int main() {
  zmq::context_t context;
  streamproc::Sender sensor(context, "tcp://127.0.0.1:5555", "mine");
  streamproc::Receiver estimates(context, "tcp://127.0.0.1:5556");
  for (int n = 0; n < 1000; ++n) {
    const double seen[3] = {0.01 * n, 0.02 * n, 20.0};
    sensor.send(seen, {3});
    if (const auto made = estimates.receive(60000))
      std::printf("%g\n", made->get<double>("x")[0]);
  }
}
