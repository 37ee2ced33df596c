"""What ``make figures`` counts."""

from pathlib import Path

import pytest

from scripts.reading_figures import measure

pytestmark = pytest.mark.unit

MODULE = '''"""A module."""
# A comment.
x = 1  # not a line of comment


def public():
    _once()
    _twice()
    _twice()
    return _passed


def _once():
    pass


def _twice():
    pass


def _passed():
    _passed()


class C:
    def _method(self):
        # Another comment.
        return self._prop

    @property
    def _prop(self):
        return self._method()
'''


def test_comment_lines_lengths_and_helpers_with_one_caller_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(MODULE)

    figures = measure(path)

    assert figures.lines == 32
    assert figures.code == 18
    assert figures.comments == 2
    assert figures.lengths == [5, 2, 2, 2, 3, 2]
    assert figures.called_once == ["_once", "_method"]
