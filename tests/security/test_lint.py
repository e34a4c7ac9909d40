"""S5: nothing that is read, from a file or a peer, becomes code or a command."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

import pytest

from tests.house.source import (
    BENCH,
    PACKAGES,
    Module,
    matches,
    modules,
    planted,
    told,
)

# Packages that run what they read, or whose reader does so by default.
CODE_READERS = {
    *("pickle", "cPickle", "_pickle", "cloudpickle", "dill", "marshal", "shelve"),
    *("joblib", "yaml", "ruamel", "jsonpickle", "msgpack_numpy", "hickle", "xmlrpc"),
    *("code", "codeop", "imp"),
}
BUILT_IN = {"eval", "exec", "compile", "execfile", "__import__"}
CODE_CALLS = {
    *("recv_pyobj", "send_pyobj", "recv_serialized", "run_module", "run_path"),
    *("SourceFileLoader", "system", "popen", "mktemp", "getoutput", "getstatusoutput"),
}
STARTERS = {"run", "Popen", "call", "check_call", "check_output"}  # of subprocess
SPAWNERS = (
    "streamproc.runtime.process streamproc.runtime.supervisor streamproc.cli.* "
    "streamproc.measure.hop streamproc_kernels.gpu.emulate"
)


def readers(found: Iterable[Module]) -> Iterator[str]:
    for module in found:
        for node in module.all_of(ast.Import, ast.ImportFrom):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                names = [getattr(node, "module", None) or ""]
            for name in names:
                if name.partition(".")[0] in CODE_READERS:
                    yield f"{module.at(node)}: {name} runs what it reads"


def calls(found: Iterable[Module]) -> Iterator[str]:
    for module in found:
        for node in module.all_of(ast.Call):
            assert isinstance(node, ast.Call)
            text = ast.unparse(node.func)
            if (
                text.rpartition(".")[2] in CODE_CALLS
                or text.removeprefix("builtins.") in BUILT_IN
            ):
                yield f"{module.at(node)}: {text} may run what it is given"
            yield from (f"{module.at(node)}: {why}" for why in _keywords(text, node))


def _keywords(text: str, node: ast.Call) -> Iterator[str]:
    given = {word.arg: ast.unparse(word.value) for word in node.keywords}
    if given.get("allow_pickle", "False") != "False":
        yield "pickled arrays run what they read"
    if given.get("shell", "False") != "False":
        yield "a shell reads names as commands; give a list of words"
    last = text.rpartition(".")[2]
    if text in ("torch.load", "jit.load") and given.get("weights_only") != "True":
        yield "torch.load runs what it reads; weights_only=True, or .npz"
    if last in ("unpackb", "unpack", "Unpacker") and text.startswith("msgpack"):
        for hook in ("object_hook", "object_pairs_hook", "ext_hook", "list_hook"):
            if hook in given:
                yield f"{hook} makes objects of what a peer sends"
    if text in ("np.load", "numpy.load") and "allow_pickle" not in given:
        yield "say allow_pickle=False; older NumPy had it the other way"


def starts(found: Iterable[Module]) -> Iterator[str]:
    """Processes are started where that can be looked over, and nowhere else."""
    for module in found:
        if matches(module.name, SPAWNERS):
            continue
        for node in module.all_of(ast.Call):
            assert isinstance(node, ast.Call)
            text = ast.unparse(node.func)
            package, _, name = text.rpartition(".")
            started = package == "subprocess" and name in STARTERS
            if started or text.startswith(("os.exec", "os.spawn", "os.posix_spawn")):
                yield f"{module.at(node)}: {text} starts a process here"


def deserialisers(found: Iterable[Module]) -> Iterator[str]:
    """Methods by which an object tells pickle how to make it."""
    for module in found:
        for node in module.all_of(ast.FunctionDef):
            assert isinstance(node, ast.FunctionDef)
            if node.name in ("__reduce__", "__reduce_ex__", "__setstate__"):
                yield f"{module.at(node)}: {node.name} is for pickle, which is not used"


RULES = [readers, calls, starts, deserialisers]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_nothing_read_becomes_code(rule) -> None:  # type: ignore[no-untyped-def]
    ours = modules(PACKAGES) if rule is starts else modules(PACKAGES, BENCH)
    told(rule(ours))


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (readers, "import pickle"),
        (readers, "def f():\n    import yaml"),
        (readers, "from msgpack_numpy import patch"),
        (readers, "import cloudpickle as c"),
        (calls, "eval(x)"),
        (calls, "builtins.exec(x)"),
        (calls, "sock.recv_pyobj()"),
        (calls, "os.system(x)"),
        (calls, "np.load(p, allow_pickle=True)"),
        (calls, "np.load(p, allow_pickle=flag)"),
        (calls, "np.load(p)"),
        (calls, "subprocess.run(x, shell=True)"),
        (calls, "torch.load(p)"),
        (calls, "torch.load(p, weights_only=False)"),
        (calls, "msgpack.unpackb(b, ext_hook=f)"),
        (calls, "tempfile.mktemp()"),
        (starts, "subprocess.Popen(x)"),
        (starts, "os.execvp(a, b)"),
        (deserialisers, "class A:\n    def __reduce__(self): ..."),
    ],
)
def test_a_way_in_is_caught(rule, text) -> None:  # type: ignore[no-untyped-def]
    assert list(rule([planted(text)]))


def test_what_is_harmless_is_passed() -> None:
    text = "re.compile(x)\nnp.load(p, allow_pickle=False)\nmsgpack.unpackb(b)"
    assert not [line for rule in RULES for line in rule([planted(text)])]
