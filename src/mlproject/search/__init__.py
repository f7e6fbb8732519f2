"""The search: what a budget buys, what is tried next, what a trial is, and which trial wins."""
