"""`python -m numformer` is the `numformer` command."""

import sys

from numformer.cli.main import main

sys.exit(main())
