"""Write the files of the checkout that come from the templates of ``setup/``. Run it after a change there."""

from pathlib import Path

from dmvpn_agent.setup.templates import EXAMPLES, example_text

CHECKOUT = Path(__file__).parents[1]

if __name__ == "__main__":
    for example in EXAMPLES:
        file, text = CHECKOUT / example.file, example_text(example)
        if file.read_text() != text:
            file.write_text(text)
            print(example.file)
