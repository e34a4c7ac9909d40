// Recorded observations through a tracker that runs elsewhere, as fast as it takes them.
//
//   track IN OUT COMPONENTS OBSERVATIONS ESTIMATES [PATIENCE_MS]
//
// OBSERVATIONS: f8, COMPONENTS a row. ESTIMATES: every array of every frame that came
// back, as bytes, in order. Says how many were sent and read, and how many came again, as
// a daemon that was killed sends what it cannot know to have arrived; exit status 1 where not one estimate came back for each observation.
#include "streamproc.hpp"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <mutex>
#include <thread>

namespace {

constexpr std::uint64_t period_ns = 1000000, first_ns = 1700000000000000000;

std::vector<double> read(const char* path) {
  std::ifstream file(path, std::ios::binary);
  std::vector<char> bytes((std::istreambuf_iterator<char>(file)), {});
  std::vector<double> numbers(bytes.size() / sizeof(double));
  if (!numbers.empty())
    std::memcpy(numbers.data(), bytes.data(), numbers.size() * sizeof(double));
  return numbers;
}

// How far the estimates have come. No more than `window` observations are ever under way:
// sockets alone would take megabytes of them, and lose them all with a process that dies.
class Flow {
 public:
  explicit Flow(int patience_ms) : patience_(patience_ms) {}

  // Waits until observation n may go; what nothing came of for so long is given up. False
  // where nobody reads any more.
  bool await(std::uint64_t n) {
    std::unique_lock lock(mutex_);
    if (!moved_.wait_for(lock, patience_, [&] { return over_ || n < answered_ + window; }))
      answered_ = n;
    return !over_;
  }
  void stop() {
    const std::lock_guard lock(mutex_);
    over_ = true;
    moved_.notify_one();
  }
  void answered(std::uint64_t count) {
    const std::lock_guard lock(mutex_);
    answered_ = std::max(answered_, count);
    moved_.notify_one();
  }

 private:
  static constexpr std::uint64_t window = 256;
  std::chrono::milliseconds patience_;
  std::mutex mutex_;
  std::condition_variable moved_;
  std::uint64_t answered_ = 0;
  bool over_ = false;
};

// Receives until the last observation is answered, or nothing comes any more; how many.
std::uint64_t collect(streamproc::Receiver& receiver, std::uint64_t count, int patience_ms,
                      Flow& flow, const std::atomic<bool>& done, std::ostream& out) {
  std::uint64_t came = 0, last = 0, gaps = 0, again = 0;
  while (last < count) {
    const bool over = done;
    const auto frame = receiver.receive(patience_ms);
    if (!frame && over) break;
    if (!frame) continue;
    const std::uint64_t n = (frame->header.t0_ns.value_or(0) - first_ns) / period_ns + 1;
    if (n == 0 || n > count) {
      std::fprintf(stderr, "an estimate came of what was not sent\n");
      break;
    }
    if (n <= last) {
      ++again;
      continue;
    }
    flow.answered(last = n);
    ++came;
    gaps += frame->header.flags & streamproc::GAP ? 1 : 0;
    for (const auto& part : frame->parts)
      out.write(static_cast<const char*>(part.data()),
                static_cast<std::streamsize>(part.size()));
  }
  flow.stop();
  if (again) std::printf("again %llu\n", static_cast<unsigned long long>(again));
  if (gaps) std::printf("gaps %llu\n", static_cast<unsigned long long>(gaps));
  return came;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6 && argc != 7) {
    std::fprintf(stderr, "usage: track IN OUT COMPONENTS OBSERVATIONS ESTIMATES [PATIENCE_MS]\n");
    return 2;
  }
  const int patience_ms = argc > 6 ? std::atoi(argv[6]) : 60000;
  const std::uint64_t width = std::strtoull(argv[3], nullptr, 10);
  const std::vector<double> seen = read(argv[4]);
  std::ofstream out(argv[5], std::ios::binary);
  if (!width || seen.size() % width || seen.empty() || !out) {
    std::fprintf(stderr, "track: %s holds no rows of %s f8, or %s cannot be written\n",
                 argv[4], argv[3], argv[5]);
    return 2;
  }
  const std::uint64_t count = seen.size() / width;
  zmq::context_t context;
  streamproc::Receiver receiver(context, argv[2]);
  const std::uint64_t begun_ns = streamproc::now_ns();
  std::uint64_t sent = 0;
  std::atomic<bool> done{false};
  Flow flow(patience_ms);
  std::thread sensor([&] {
    streamproc::Sender sender(context, argv[1], "c++");
    for (std::uint64_t n = 0; n < count; ++n) {
      if (!flow.await(n)) break;
      if (!sender.send(&seen[n * width], {width}, first_ns + n * period_ns, patience_ms))
        break;
    }
    sent = sender.sent();
    done = true;
  });
  const std::uint64_t came = collect(receiver, count, patience_ms, flow, done, out);
  const double took_s = static_cast<double>(streamproc::now_ns() - begun_ns) / 1e9;
  sensor.join();
  std::printf("sent %llu, read %llu, %.1f s, %.0f frames/s\n",
              static_cast<unsigned long long>(sent),
              static_cast<unsigned long long>(came), took_s,
              static_cast<double>(came) / took_s);
  return sent == count && came == count ? 0 : 1;
}
