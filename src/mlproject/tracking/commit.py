"""The git commit of the code, which every run is tagged with."""

import logging
import re
import subprocess
from functools import cache
from pathlib import Path

logger = logging.getLogger(__name__)


def git_commit() -> str:
    """The git commit of the working folder, as it was at the first call: later commits do not change the imported code.

    Returns:
        The commit's hash, followed by "+changes" when files differed from it; "unknown" outside a repository.
    """
    return _git_commit(Path.cwd())


@cache
def _git_commit(folder: Path) -> str:
    try:
        head, changed = (
            subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
            for arguments in (("rev-parse", "HEAD"), ("status", "--porcelain"))
        )
    except OSError:
        return "unknown"
    except subprocess.CalledProcessError as error:
        # git refuses a repository of another user, and names the command that allows it.
        command = re.search("git config --global --add safe.directory .+", error.stderr)
        if command:
            logger.warning(
                "git.commit is 'unknown', because git does not trust the owner of this folder; `%s` mends it",
                command[0],
            )
        return "unknown"
    return head + ("+changes" if changed else "")
