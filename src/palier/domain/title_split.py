"""Which articles of public question sets train the starter reader, and which only measure it.

The choice is a hash of the title, never of the row: questions of one article share its passages. A benchmark that
takes `test` titles here measures on articles that the committed starter never saw. The price: shares hold over many
titles only.
"""

import hashlib
from typing import Literal

Split = Literal["train", "validation", "test"]

TEST_PERCENT = 7
VALIDATION_PERCENT = 6


def title_split(title: str) -> Split:
    """The split of an article; underscores, case and outer spaces of ``title`` do not matter."""
    name = title.replace("_", " ").casefold().strip()
    bucket = int(hashlib.sha256(f"palier reader split:{name}".encode()).hexdigest(), 16) % 100
    if bucket < TEST_PERCENT:
        return "test"
    return "validation" if bucket < TEST_PERCENT + VALIDATION_PERCENT else "train"
