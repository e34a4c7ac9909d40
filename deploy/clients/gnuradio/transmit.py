#!/usr/bin/env python3
"""A GNU Radio transmitter, its multipath channel and its noise, sent over ZeroMQ.

    python3 transmit.py --symbols 400000 --snr-db 6 --truth truth.npy
    streamproc run receive.toml --frames 780

Symbols go through four taps, exp(-0.2 l), turned by 40 degrees a tap where they are
complex, and Gaussian noise of 10^(-snr/10), to a PUB or PUSH sink. The first 400 of
every 10,000 are pilots (--pilots), and each run of them begins with a tag `pilots`.
"""

import argparse
import signal
import sys
import time

import numpy as np
import pmt
from gnuradio import analog, blocks, digital, filter, gr, zeromq

PERIOD = 10_000
POINTS = {
    "bpsk": [-1.0, 1.0],
    "qpsk": [(re + 1j * im) / 2**0.5 for re in (-1, 1) for im in (-1, 1)],
}


def pilots(count, width):
    """The PRBS-23 of register 1, from its 4097th bit on, `width` bits a symbol."""
    register, made = 1, []
    for _ in range(4096 + count * width):
        bit = (register >> 22 ^ register >> 17) & 1
        register = (register << 1 | bit) & 0x7FFFFF
        made.append(bit)
    bits = np.array(made[4096:]).reshape(count, width)
    return bits @ (1 << np.arange(width)[::-1])


def taps(name):
    """Of the channel, the newest symbol's first."""
    delay = np.arange(4)
    turn = 1.0 if name == "bpsk" else np.exp(1j * np.radians(40) * delay)
    return np.exp(-0.2 * delay) * turn


def symbols(count, name, seed, known):
    """Random ones, with `known` pilots in their places."""
    points = len(POINTS[name])
    made = np.random.default_rng(seed).integers(points, size=count, dtype=np.int8)
    known = pilots(known, points.bit_length() - 1)
    for first in range(0, count, PERIOD):
        made[first : first + len(known)] = known[: count - first]
    return made


def marks(count):
    """A tag at the beginning of every run of pilots, with the number of the run."""
    for run, first in enumerate(range(0, count, PERIOD)):
        tag = gr.tag_t()
        tag.offset, tag.key = first, pmt.intern("pilots")
        tag.value = pmt.from_long(run)
        yield tag


class Transmitter(gr.top_block):
    """Symbols, constellation, taps, noise, pace, ZeroMQ."""

    def __init__(self, args, sent):
        gr.top_block.__init__(self, "transmitter")
        sigma = 10 ** (-args.snr_db / 20)  # GNU Radio: of both parts together
        points, channel = POINTS[args.constellation], taps(args.constellation).tolist()
        tags = list(marks(len(sent)))
        source = blocks.vector_source_b(sent.tolist(), args.repeat, 1, tags)
        if args.constellation == "bpsk":
            size, add = gr.sizeof_float, blocks.add_ff
            modulate = digital.chunks_to_symbols_bf(points, 1)
            smear = filter.fir_filter_fff(1, channel)
            noise = analog.noise_source_f(analog.GR_GAUSSIAN, sigma, args.seed)
        else:
            size, add = gr.sizeof_gr_complex, blocks.add_cc
            modulate = digital.chunks_to_symbols_bc(points, 1)
            smear = filter.fir_filter_ccc(1, channel)
            noise = analog.noise_source_c(analog.GR_GAUSSIAN, sigma, args.seed)
        made, pace = add(1), blocks.throttle(size, args.rate)
        where = (size, 1, args.endpoint, 100, not args.no_tags)
        sink = zeromq.push_sink if args.socket == "push" else zeromq.pub_sink
        self.connect(source, modulate, smear, (made, 0))
        self.connect(noise, (made, 1))
        self.connect(made, pace, sink(*where))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--endpoint", default="tcp://127.0.0.1:5555")
    parser.add_argument("--socket", choices=("pub", "push"), default="pub")
    parser.add_argument("--constellation", choices=tuple(POINTS), default="bpsk")
    parser.add_argument("--symbols", type=int, default=1_000_000)
    parser.add_argument("--pilots", type=int, default=400, help="of every 10,000")
    parser.add_argument("--rate", type=float, default=200_000, help="symbols a second")
    parser.add_argument("--snr-db", type=float, default=6.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--repeat", action="store_true", help="until it is stopped")
    parser.add_argument("--no-tags", action="store_true")
    parser.add_argument("--truth", help="file for the symbols sent, int8 .npy")
    args = parser.parse_args()
    sent = symbols(args.symbols, args.constellation, args.seed, args.pilots)
    if args.truth:
        np.save(args.truth, sent)
    transmitter = Transmitter(args, sent)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    transmitter.start()
    print(f"sending to {args.endpoint}", flush=True)
    transmitter.wait()
    time.sleep(1)  # what ZeroMQ still holds goes out


if __name__ == "__main__":
    main()
