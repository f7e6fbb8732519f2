"""Names that become part of files, web addresses and names in MLflow."""

import re

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
NAME_RULE = "up to 100 letters, digits, '-', '_' and '.', beginning with a letter or a digit"
