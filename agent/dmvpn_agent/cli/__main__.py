"""``python -m dmvpn_agent.cli``."""

import sys

from dmvpn_agent.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
