"""Find the passages that an answer would rest on, without an answer: POST /v1/search.

    PALIER_API_KEY=pk-… python examples/search_passages.py "frais de livraison le dimanche"

PALIER_URL is the gateway's base URL. The language is detected from the query.
"""

import os
import sys

import httpx

DEFAULT_URL = "http://127.0.0.1:8000/v1"


def main() -> None:
    query = " ".join(sys.argv[1:]) or "frais de livraison le dimanche"
    reply = httpx.post(
        f"{os.environ.get('PALIER_URL', DEFAULT_URL)}/search",
        headers={"Authorization": f"Bearer {os.environ['PALIER_API_KEY']}"},
        json={"query": query, "k": 3},
        timeout=30,
    )
    if reply.is_error:
        sys.exit(reply.text)
    found = reply.json()
    print(f"{query!r} ({found['language']}) in {found['index']}")
    for hit in found["data"]:
        place = " > ".join(part for part in (hit["title"], hit["headings"]) if part)
        print(f"\n{hit['score']:.2f}  {place}  ({hit['document_id']}, lines {hit['start_line']}-{hit['end_line']})")
        print(hit["text"])


if __name__ == "__main__":
    main()
