"""Likelihoods as an ONNX graph, node by node: y (symbols, D) to loglik (symbols, C).

Everything is float32. A mixture or Poisson head is its equation; a classifier's scores
are made log-likelihoods by the marginal of the head below it, log p(y) = log mean_c
p(y | c), which decisions do not feel and by which a wrong channel is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from streamproc.detection.fit import Fitted
from streamproc.detection.noise import Mixture
from streamproc.frame import Array
from streamproc.models.onnx_nodes import Nodes, held

OPSET = 20
IR_VERSION = 10  # of opset 20; newer ones are refused by older runtimes
Head = Literal["mixture", "poisson", "dnn", "residual"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Network:
    """A classifier of one run: layers as `network.one_run` gives them, and scaling."""

    weights: dict[str, Array]
    center: Array  # (D,)
    spread: Array  # (D,)


class _Graph(Nodes):
    """With constants that have names of their own."""

    def constant(self, name: str, value: Array | float) -> str:
        self.constants[name] = held(value)
        return name


def export(fitted: Fitted, head: Head, network: Network | None = None) -> bytes:
    """The graph of a head; classifiers stand on the fitted one below them.

    Numbers that a compiled twin needs are outputs too, `weight.NAME`: means (C, D),
    weights and variances (K,) of a mixture, rates (C,) of Poisson, layers.
    """
    graph = _Graph()
    classes, dims = fitted.means.shape
    below = _below(graph, fitted)
    if network is None:
        loglik = below
    else:
        scores = _classifier(graph, network)
        if head == "residual":
            scores = graph.add("Add", scores, below)
        posterior = graph.add("LogSoftmax", scores, axis=1)
        axes = graph.constant("class_axis", np.array([1]))
        marginal = graph.add("ReduceLogSumExp", below, axes, keepdims=1)
        loglik = graph.add("Add", posterior, marginal)
    graph.nodes.append(helper.make_node("Identity", [loglik], ["loglik"]))
    return _model(graph, dims, classes, _weights(fitted, network))


def _below(graph: _Graph, fitted: Fitted) -> str:
    if fitted.mixture is not None:
        return _mixture(graph, fitted.means, fitted.mixture)
    rates = fitted.rates if fitted.rates is not None else fitted.means[:, 0]
    logs = graph.constant("log_rates", np.log(rates)[None])
    counts = graph.add("Mul", "y", logs)
    loglik = graph.add("Sub", counts, graph.constant("class_rates", rates[None]))
    return graph.add("Sub", loglik, _log_factorial(graph))


def _log_factorial(graph: _Graph) -> str:
    """log Gamma(y + 1) (n, 1), by Stirling's series at w = y + 5, eps32 from it.

        log Gamma(w) = (w - 1/2) log w - w + log(2 pi) / 2 + 1 / (12 w)
    less the logarithm of (y + 1)(y + 2)(y + 3)(y + 4).
    """
    y = graph.add("Relu", "y")
    w = graph.add("Add", y, graph.constant("five", 5.0))
    less = graph.add("Sub", w, graph.constant("half", 0.5))
    series = graph.add("Mul", less, graph.add("Log", w))
    tail = graph.add("Div", graph.constant("twelfth", 1 / 12), w)
    constant = graph.constant("log_root", 0.5 * np.log(2 * np.pi))
    series = graph.add("Sub", graph.add("Add", series, tail), w)
    series = graph.add("Add", series, constant)
    for k in range(1, 5):
        step = graph.add("Add", y, graph.constant(f"step_{k}", float(k)))
        series = graph.add("Sub", series, graph.add("Log", step))
    return series


def _mixture(graph: _Graph, means: Array, noise: Mixture) -> str:
    """log sum_k exp(log_weight[k] - inv_scale[k] |y - mean|^2)."""
    dims = means.shape[1]
    if dims == 1:
        centres = graph.constant("centres", means.T)  # (1, C), beside y (n, 1)
        gap = graph.add("Sub", "y", centres)
        squared = graph.add("Mul", gap, gap)
    else:
        shape = graph.constant("sample_shape", np.array([-1, 1, dims]))
        apart = graph.add("Reshape", "y", shape)
        centres = graph.constant("centres", means[None])
        gap = graph.add("Sub", apart, centres)
        axes = graph.constant("part_axis", np.array([2]))
        squared = graph.add("ReduceSumSquare", gap, axes, keepdims=0)
    terms = []
    rows = zip(noise.log_weight, noise.inv_scale, strict=True)
    for k, (weight, scale) in enumerate(rows):
        scaled = graph.add("Mul", squared, graph.constant(f"scale_{k}", -scale))
        terms.append(graph.add("Add", scaled, graph.constant(f"weight_{k}", weight)))
    return terms[0] if len(terms) == 1 else _log_sum(graph, terms)


def _log_sum(graph: _Graph, terms: list[str]) -> str:
    most = graph.add("Max", *terms)
    parts = [graph.add("Exp", graph.add("Sub", term, most)) for term in terms]
    return graph.add("Add", most, graph.add("Log", graph.add("Sum", *parts)))


def _classifier(graph: _Graph, network: Network) -> str:
    """Scores (n, C); the scaling of the samples is in the first layer."""
    held = dict(network.weights)
    held["b1"] = held["b1"] - (network.center / network.spread) @ held["w1"]
    held["w1"] = held["w1"] / network.spread[:, None]
    names = {name: graph.constant(f"layer_{name}", w) for name, w in held.items()}
    x = graph.add("Gemm", "y", names["w1"], names["b1"])
    x = graph.add("Gemm", graph.add("Sigmoid", x), names["w2"], names["b2"])
    return graph.add("Gemm", graph.add("Relu", x), names["w3"], names["b3"])


def _weights(fitted: Fitted, network: Network | None) -> dict[str, Array]:
    told: dict[str, Array] = {"means": fitted.means}
    if fitted.mixture is not None:
        told["weights"] = fitted.mixture.weights
        told["variances"] = fitted.mixture.variances
    elif fitted.rates is not None:
        told["rates"] = fitted.rates
    if network is not None:
        told |= {**network.weights, "center": network.center, "spread": network.spread}
    return told


def _model(graph: _Graph, dims: int, classes: int, weights: dict[str, Array]) -> bytes:
    tensors = {**graph.constants}
    tensors |= {f"weight.{k}": np.asarray(w, np.float32) for k, w in weights.items()}
    outputs = [_port("loglik", "symbols", classes)]
    outputs += [
        helper.make_tensor_value_info(f"weight.{k}", TensorProto.FLOAT, np.shape(w))
        for k, w in weights.items()
    ]
    made = helper.make_graph(
        graph.nodes,
        "likelihood",
        [_port("y", "symbols", dims)],
        outputs,
        [
            numpy_helper.from_array(np.ascontiguousarray(w), k)
            for k, w in tensors.items()
        ],
    )
    model = helper.make_model(
        made,
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="streamproc",
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _port(name: str, *shape: int | str) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))
