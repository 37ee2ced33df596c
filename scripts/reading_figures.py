"""How long the package takes to read: lines, comments, functions, helpers called once.

Prints one row for each wing of ``src/inngest_connect``, and the longest files. With ``--helpers``,
it lists the private functions that have exactly one caller. With ``--package DIR``, it measures
another package, for comparison. Generated code and tests are not counted.
"""

import argparse
import ast
import io
import tokenize
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

OURS = Path(__file__).parents[1] / "src/inngest_connect"
APART = ("testing", "cli", "status")
"""Wings that a worker runs without."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(slots=True)
class Module:
    """The figures of one file."""

    path: Path
    lines: int
    code: int
    """Lines without blank ones, comments and docstrings."""
    comments: int
    lengths: list[int]
    called_once: list[str]


@dataclass(slots=True)
class Wing:
    """The modules of one row."""

    modules: list[Module] = field(default_factory=list)

    def row(self, name: str) -> str:
        """The figures, as wide as the heading."""
        lines = sum(module.lines for module in self.modules)
        code = sum(module.code for module in self.modules)
        comments = sum(module.comments for module in self.modules)
        lengths = sorted(length for module in self.modules for length in module.lengths) or [0]
        median, p90, p99 = (lengths[int(len(lengths) * part)] for part in (0.5, 0.9, 0.99))
        once = sum(len(module.called_once) for module in self.modules)
        return (
            f"{name:24}{len(self.modules):6}{lines:8}{code:8}{comments / lines:10.1%}"
            f"{median:8} /{p90:3} /{p99:4}{once:13}"
        )


def measure(path: Path) -> Module:
    """The figures of the file at ``path``."""
    text = path.read_text()
    comments, code = 0, set[int]()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            comments += token.line.lstrip().startswith("#")
        elif token.string.strip():
            code.update(range(token.start[0], token.end[0] + 1))
    tree = ast.parse(text)
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant(value=str())):
                code.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    functions = [node for node in ast.walk(tree) if isinstance(node, Function)]
    lengths = [(node.end_lineno or node.lineno) - node.lineno + 1 for node in functions]
    once = list(called_once(tree, functions))
    return Module(path, text.count("\n"), len(code), comments, lengths, once)


def called_once(tree: ast.AST, functions: list[Function]) -> Iterator[str]:
    """The private functions and methods whose only mention is one call.

    Another module mentions a private name only to test it. A function that is passed along, and one
    that calls itself, is not counted.
    """
    mentions = Counter(_mentioned(node) for node in ast.walk(tree))
    calls = Counter(_mentioned(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call))
    definitions = Counter(function.name for function in functions)
    for function in functions:
        name = function.name
        if not name.startswith("_") or name.startswith("__") or definitions[name] > 1:
            continue
        if mentions[name] == calls[name] == 1 and not function.decorator_list:
            yield name


def _mentioned(node: ast.AST) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def main() -> None:
    """Measure all modules and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--package", type=Path, default=OURS, metavar="DIR")
    parser.add_argument("--helpers", action="store_true", help="list what is called once")
    arguments = parser.parse_args()
    package: Path = arguments.package
    wings: dict[str, Wing] = {}
    worker, everything = Wing(), Wing()
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).parts
        if path.name.endswith("_pb2.py") or "tests" in parts:
            continue
        module = measure(path)
        wings.setdefault(parts[0] if len(parts) > 1 else "(top)", Wing()).modules.append(module)
        everything.modules.append(module)
        if parts[0] not in APART:
            worker.modules.append(module)
    print(
        f"{'':24}{'files':>6}{'lines':>8}{'code':>8}{'comments':>10}{'median/p90/p99':>19}"
        f"{'called once':>13}"
    )
    for name, wing in sorted(wings.items()):
        print(wing.row(name))
    if package == OURS:
        print(worker.row("the worker proper"))
    print(everything.row("all"))
    print("\nlongest files")
    for module in sorted(everything.modules, key=lambda module: -module.lines)[:15]:
        print(f"{module.lines:6}  {module.path.relative_to(package)}")
    if arguments.helpers:
        print("\nprivate functions with one caller")
        for module in everything.modules:
            for name in module.called_once:
                print(f"  {module.path.relative_to(package)}: {name}")


if __name__ == "__main__":
    main()
