"""The search: what is tried next, what a trial is, which trial wins, and how an interrupted search goes on."""
