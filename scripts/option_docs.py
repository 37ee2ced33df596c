"""Write what the table of options says: ``connect()``, and the tables of two pages.

``--check`` writes nothing; the exit code is 1 when a file is stale.
"""

import ast
import inspect
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

import typer

from inngest_connect import options
from inngest_connect.cli.app import app
from inngest_connect.core.settings import Timing
from inngest_connect.options import OPTIONS, ConnectOptions, Option

ROOT = Path(__file__).parents[1]
FACTORY = Path(options.__file__).with_name("factory.py")


def factory() -> str:
    """The module of ``connect()``. Types and defaults are those of the table, as written there."""
    parameters, descriptions = "", ""
    for row in class_body(ConnectOptions):
        if not isinstance(row, ast.AnnAssign) or not isinstance(row.value, ast.Call):
            continue
        name = ast.unparse(row.target)
        defaults = [each.value for each in row.value.keywords if each.arg == "default"]
        default = ast.unparse(defaults[0]).replace("'", '"') if defaults else "None"
        kind = ast.unparse(row.annotation).strip("'")
        if not defaults and "None" not in kind and kind != "Any":
            kind += " | None"
        if "Provider" in kind:  # imported for type checkers only
            kind = f'"{kind}"'
        parameters += f"    {name}: {kind} = {default},\n"
        option = OPTIONS[name]
        variable = f"{option.variable}, else " if option.variable else ""
        text = f"{name}: {option.help} Default: {variable}{option.shown_default}."
        descriptions += textwrap.fill(
            text, 100, initial_indent=" " * 8, subsequent_indent=" " * 12, break_on_hyphens=False
        )
        descriptions += "\n"
    arguments = "".join(f"        {name}={name},\n" for name in OPTIONS)
    module = FACTORY.read_text(encoding="utf-8")
    module = between("    \\*,\n", parameters, r"\) ->", module)
    module = between("        apps: .*\n(?: {12}.*\n)*", descriptions, "\n    Raises", module)
    return between("resolve_options\\(\n", arguments, r"    \)\n", module)


def between(begin: str, text: str, end: str, whole: str) -> str:
    """Replace by ``text`` what is between the first match of ``begin`` and the next of ``end``."""
    begun = re.search(begin, whole)
    assert begun is not None, begin
    ended = re.compile(end).search(whole, begun.end())
    assert ended is not None, end
    return f"{whole[: begun.end()]}{text}{whole[ended.start() :]}"


def class_body(kind: type) -> list[ast.stmt]:
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(definition, ast.ClassDef)
    return definition.body


def markdown(text: str) -> str:
    return re.sub(r"docs/([\w-]+\.md)", r"[\1](\1)", text.replace("``", "`"))


def table(*rows: tuple[str, ...]) -> str:
    """The first row is the head."""
    lines = [f"| {' | '.join(row)} |\n" for row in rows]
    return "".join([lines[0], "| --- " * len(rows[0]) + "|\n", *lines[1:]])


def code(text: str | None) -> str:
    return f"`{text}`" if text else ""


def options_table() -> str:
    return table(
        ("option", "variable", "default", "what it does"),
        *(
            (code(name), code(row.variable), markdown(row.shown_default), markdown(row.help))
            for name, row in OPTIONS.items()
        ),
    )


def timing_table() -> str:
    """The text of a limit is the string below it."""
    rows = []
    for limit, text in zip(class_body(Timing), class_body(Timing)[1:], strict=False):
        if isinstance(limit, ast.AnnAssign) and isinstance(text, ast.Expr):
            assert isinstance(limit.target, ast.Name)
            assert isinstance(text.value, ast.Constant)
            default = f"{getattr(Timing(), limit.target.id):g}"
            rows.append((code(limit.target.id), default, " ".join(str(text.value.value).split())))
    return table(("limit", "seconds", "what it limits"), *rows)


def run_table() -> str:
    group: Any = typer.main.get_command(app)
    given = [each for each in group.commands["run"].params if each.param_type_name == "option"]
    return table(
        ("option", "variable", "default", "what it does"),
        *(run_row(each, OPTIONS.get(each.name)) for each in given),
    )


def run_row(given: Any, option: Option | None) -> tuple[str, ...]:
    flag = code(given.opts[0])
    if option is not None:
        return flag, code(option.variable), markdown(option.shown_default), markdown(option.help)
    default = given.show_default if isinstance(given.show_default, str) else given.default
    shown = "off" if default is False else str(getattr(default, "value", default))
    return flag, code(given.envvar), shown, markdown(given.help)


def page(name: str, **tables: str) -> str:
    """The page with what is between its markers replaced."""
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    for title, content in tables.items():
        text = between(f"<!-- {title}: written by `make docs` -->\n", content, "<!-- end -->", text)
    return text


def main() -> int:
    targets = {
        FACTORY: factory(),
        ROOT / "docs" / "configuration.md": page(
            "configuration.md", options=options_table(), timing=timing_table()
        ),
        ROOT / "docs" / "cli.md": page("cli.md", run=run_table()),
    }
    if "--check" in sys.argv:
        return int(any(path.read_text("utf-8") != text for path, text in targets.items()))
    for path, text in targets.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
