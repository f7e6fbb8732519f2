"""The git commit of the code, which every run is tagged with."""

import logging
import re
import subprocess
from functools import cache
from pathlib import Path

CHANGED = ("status", "--porcelain", "--untracked-files=no")
# Other new files, such as a folder of photographs or a log, are no code.
NEW_CODE = ("ls-files", "--others", "--exclude-standard", "--", ":/*.py")

logger = logging.getLogger(__name__)


def git_commit() -> str:
    """The git commit of the working folder, as it was at the first call: later commits do not change the imported code.

    Returns:
        The commit's hash, followed by "+changes" when tracked files differed from it, or there were Python files that
        git neither tracks nor ignores; "unknown" outside a repository.
    """
    return _git_commit(Path.cwd())


@cache
def _git_commit(folder: Path) -> str:
    try:
        head, changed, new_code = (
            subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
            for arguments in (("rev-parse", "HEAD"), CHANGED, NEW_CODE)
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
    return head + ("+changes" if changed or new_code else "")
