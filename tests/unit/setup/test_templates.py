"""The templates in the wheel, and the files of the checkout that come from them."""

from importlib.resources import files
from pathlib import Path

import pytest

pytest.importorskip("jinja2")

from dmvpn_agent.setup.templates import EXAMPLES, Example, example_text

CHECKOUT = Path(__file__).parents[3]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.file)
def test_a_file_of_the_checkout_is_what_its_template_gives(example: Example) -> None:
    """If this fails: change the template, not the file, and run deploy/render.py."""
    assert (CHECKOUT / example.file).read_text() == example_text(example)


def test_every_template_for_users_is_rendered_into_the_checkout() -> None:
    """Only files that have no form for reading, because setup alone writes them, have no copy in the checkout."""
    templates = files("dmvpn_agent.setup") / "templates"
    found = {str(path.relative_to(str(templates))) for path in Path(str(templates)).rglob("*") if path.is_file()}
    only = ("network/", "cisco/", "firewall/")
    only_setup = {name for name in found if name.startswith(only)} - {"network/gre1.interfaces"}
    assert found - only_setup == {example.template for example in EXAMPLES}
